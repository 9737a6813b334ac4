"""The correlate machine, stage by stage."""
