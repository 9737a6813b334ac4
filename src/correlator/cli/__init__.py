"""The command line: one file a command, each parses its arguments and calls one function."""

from typing import Final

import click

from correlator.cli.check import check
from correlator.cli.dead_letters import dead_letters
from correlator.cli.demo import demo
from correlator.cli.explain import explain
from correlator.cli.graph import graph
from correlator.cli.incidents import incidents
from correlator.cli.parse import parse
from correlator.cli.publish import publish
from correlator.cli.replay import replay
from correlator.cli.run import run
from correlator.cli.state import state


@click.group()
@click.version_option(package_name="correlator")
def main() -> None:
    """Turn storms of alerts into a few incidents that name their cause."""


_COMMANDS: Final = (run, demo, publish, incidents, explain, graph, dead_letters, parse, replay, check, state)
for _command in _COMMANDS:
    main.add_command(_command)
