"""Tests of the runtime: the log behind its port."""
