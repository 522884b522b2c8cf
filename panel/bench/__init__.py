"""Benchmarks that start a run of their own, and check every answer of it."""
