"""The command line as people and scripts meet it: output, exit codes, signals, and what a mistake leaves behind."""
