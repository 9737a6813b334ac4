"""The machine that owns alerts and incidents: step, rows, restore."""
