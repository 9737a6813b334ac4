"""Turn storms of alerts into a few incidents that name their cause."""
