"""The log: rows in columns, their codec and versions."""
