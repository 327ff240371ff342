"""Benchmarks: `nox -s bench`."""
