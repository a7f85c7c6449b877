"""Cloud vendors' services on loopback: their published protocols, real results (simulated), and their faults."""
