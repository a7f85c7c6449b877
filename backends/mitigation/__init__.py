"""Wrappers around backends that make noisy answers better."""
