"""Tests of the load generators and of the floor that the benchmarks compare with."""
