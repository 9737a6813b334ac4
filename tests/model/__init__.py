"""Tests of `correlator.model`."""
