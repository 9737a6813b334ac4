"""The memory: bounded maps and windows whose rows can be saved and restored."""
