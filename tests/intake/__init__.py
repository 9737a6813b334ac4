"""Tests of `correlator.intake`."""
