"""Versions of what is stored: the error for bytes that only a newer correlator can read."""


class NewerVersionError(Exception):
    """A frame or row was written by a newer correlator than this one; this worker must stop and be upgraded."""
