"""Load: generated storms with their ground truth, for benchmarks, accuracy figures and chaos runs."""
