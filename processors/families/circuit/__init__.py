"""Circuits, run as they are."""
