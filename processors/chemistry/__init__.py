"""What the molecule family is made of: integrals, fermions on qubits, and the variational search (JAX)."""
