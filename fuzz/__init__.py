"""Fuzzers: what readers, families and events do with bytes that nobody meant. `make fuzz`; see docs/robustness.md."""
