"""Molecules: integrals, fermions on qubits, and the variational search (JAX)."""
