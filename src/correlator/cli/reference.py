"""The page on the command line, written from the commands themselves, so that it cannot differ from `--help`."""

import inspect
from collections.abc import Iterator
from typing import Final

import click

from correlator.cli import main

_OPENING: Final = """\
# Commands

Written by `make docs` from the program; `correlator COMMAND --help` says the same.

Every command that reads files takes `-` for standard input: JSON lines, or one document (an object, or an array of items; indented or
not, up to 64 MB). Commands that print for people take `--json`. Results go to standard output; messages, progress and the service's log
go to standard error.

| exit code | means |
|---|---|
| 0 | done; `replay` ends so whatever the verdicts on its events are |
| 1 | findings: `parse` rejected an item, `check` found an error |
| 2 | a wrong call, a wrong configuration, or a file, folder or disk that fails; the message says which and what to do |

A configuration with an error never starts, and a command that cannot read its input changes nothing. A disk without room stops `run` and
`publish` with code 2 between two transactions: make room and start again; nothing is lost and nothing is double. `publish` says how many
records it had published, to be left out then.

`run` and `publish` may use one folder at the same time. A second `run` on a folder takes over: the first ends with code 2 as soon as it
would write. It needs another address for `/metrics` (`--listen 127.0.0.1:8081`, or `--listen off`): with the same one it ends at once, and
the first goes on. SIGTERM and Ctrl-C end `run` with code 0 within three seconds. SIGKILL does no harm either: the next start goes on
where the log stands.
"""


def cli_page() -> str:
    """Write the page: what holds for all commands, then each with its options."""
    return "\n".join([_OPENING, *[line for name, command in _commands(main) for line in _section(name, command)]])


def _commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its whole name; those of a group stand behind it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def _section(name: str, command: click.Command) -> Iterator[str]:
    arguments = [param.make_metavar(click.Context(command)) for param in command.params if isinstance(param, click.Argument)]
    options = [param for param in command.params if isinstance(param, click.Option) and not param.hidden]
    yield f"## correlator {name}\n"
    yield f"```\ncorrelator {' '.join([name, '[OPTIONS]', *arguments])}\n```\n"
    yield f"{inspect.cleandoc(command.help or '')}\n"
    yield "| option | meaning |\n|---|---|"
    for option in options:
        yield f"| `{_spelled(option, command)}` | {option.help or ''}{_default(option)} |"
    yield ""


def _spelled(option: click.Option, command: click.Command) -> str:
    spelled = ", ".join(option.opts)
    return spelled if option.is_flag else f"{spelled} {option.make_metavar(click.Context(command))}".replace("|", "\\|")


def _default(option: click.Option) -> str:
    return f" Default: {option.default}." if option.show_default else ""
