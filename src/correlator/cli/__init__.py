"""The command line: one file a command, each parses its arguments and calls one function."""

from typing import Final

import click

from correlator.cli.check import check
from correlator.cli.parse import parse
from correlator.cli.replay import replay


@click.group()
@click.version_option(package_name="correlator")
def main() -> None:
    """Turn storms of alerts into a few incidents that name their cause."""


_COMMANDS: Final = (check, parse, replay)
for _command in _COMMANDS:
    main.add_command(_command)
