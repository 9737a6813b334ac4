"""Tests of explanations and drawings."""
