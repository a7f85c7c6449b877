"""Simulators in Cirq: state vectors, density matrices, devices."""
