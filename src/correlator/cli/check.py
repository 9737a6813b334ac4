"""`correlator check` tells whether rules, topologies and settings are sound."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from correlator.config.load import Loaded, examine
from correlator.config.problem import Problem

DEFAULT_PATHS: Final = ("rules", "topologies")

SOUND: Final = 0
FINDINGS: Final = 1
USAGE: Final = 2


@click.command()
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def check(context: click.Context, paths: Sequence[str], *, as_json: bool) -> None:
    """Check rules, topologies and settings, told apart by their keys: files, folders, or - for standard input.

    A settings file that is checked alone brings the rules and topologies that it names.
    Without PATH, those of the folders rules and topologies that are here; when neither is, that is an error.
    Exits 0 when sound (warnings are allowed), 1 when there are errors, 2 when something cannot be read.
    """
    loaded = examine(paths or _default_paths())
    if as_json:
        click.echo(json.dumps(_report(loaded), ensure_ascii=False, indent=2))
    else:
        for problem in loaded.problems:
            click.echo(str(problem))
        click.echo(summary(loaded))
    context.exit(exit_code(loaded))


def exit_code(loaded: Loaded) -> int:
    """Answer the exit code: what could not be read weighs more than what is wrong in what could."""
    if any(problem.is_unreadable for problem in loaded.problems):
        return USAGE
    return FINDINGS if loaded.errors else SOUND


def summary(loaded: Loaded) -> str:
    """Write what was checked and how many problems there are on one line."""
    checked = [
        _counted(loaded.files, "file"),
        _counted(loaded.rule_sets, "rule set"),
        _counted(loaded.services, "service"),
        _counted(loaded.edges, "edge"),
    ]
    if loaded.settings:
        checked.append(_counted(loaded.settings, "settings file"))
    return f"{', '.join(checked)}: {_counted(loaded.errors, 'error')}, {_counted(loaded.warnings, 'warning')}"


def _default_paths() -> Sequence[str]:
    here = [path for path in DEFAULT_PATHS if Path(path).exists()]
    return here or DEFAULT_PATHS


def _report(loaded: Loaded) -> dict[str, object]:
    return {
        "files": loaded.files,
        "rule_sets": loaded.rule_sets,
        "services": loaded.services,
        "edges": loaded.edges,
        "settings": loaded.settings,
        "errors": loaded.errors,
        "warnings": loaded.warnings,
        "problems": [_entry(problem) for problem in loaded.problems],
    }


def _entry(problem: Problem) -> dict[str, object]:
    return {
        "severity": problem.severity.value,
        "file": problem.where.file,
        "line": problem.where.line,
        "column": problem.where.column,
        "message": problem.message,
        "hint": problem.hint,
    }


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
