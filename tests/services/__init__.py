"""Launchers of the real services, as context managers, for the tests, the demo and the benchmarks."""
