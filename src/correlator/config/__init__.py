"""Text in: located YAML to rules, topologies and settings, with every mistake at its file, line and column."""
