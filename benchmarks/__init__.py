"""Benchmarks: what the correlator costs beside a loop written by hand for the same events."""
