"""Benchmarks against named peers, measured in the same run and printed beside their goals: `python -m benchmarks`."""
