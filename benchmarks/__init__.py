"""Benchmarks against named peers; each prints its figure beside its goal. Run with `python -m benchmarks.NAME`."""
