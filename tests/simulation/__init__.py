"""The deterministic simulation: the real tasks over a log in memory, on virtual time, with a fault at every call of the port."""
