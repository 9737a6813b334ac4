"""Tests of `correlator.state`."""
