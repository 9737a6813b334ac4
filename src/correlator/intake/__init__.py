"""Bytes in: from raw records to folded rows of one fingerprint each."""
