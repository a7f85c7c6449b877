"""Clifford circuits of any size, by tableau: Cirq's, and Stim's."""
