"""Laws, examples and guards of the correlator."""
