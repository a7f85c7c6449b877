"""Simulators in JAX: state vectors of many jobs at once, on CPU or GPU."""
