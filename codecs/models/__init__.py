"""Compact models and kernels: polynomials, circuits, Pauli operators, and how they are packed."""
