"""Tests of `correlator.frames`."""
