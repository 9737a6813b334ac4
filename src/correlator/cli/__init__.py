"""The command line: one file a command, each parses its arguments and calls one function."""

import click


@click.group()
@click.version_option(package_name="correlator")
def main() -> None:
    """Turn storms of alerts into a few incidents that name their cause."""
