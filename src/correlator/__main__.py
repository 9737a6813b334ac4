"""`python -m correlator`: the command line."""

from correlator.cli import main

main()
