"""Tests of the configuration: what is read, and what is said of mistakes."""
