"""What every command answers when its input or configuration fails: one clear line each, and exit code 2."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import click

from correlator.config.problem import ConfigError
from correlator.frames.codec import NewerVersionError
from correlator.runtime.fatal import StoppedError
from correlator.runtime.files import InputError
from correlator.runtime.ports import Fenced, PortError

DONE: Final = 0
FINDINGS: Final = 1
USAGE: Final = 2


class FailedError(click.ClickException):
    """A command cannot go on; its message says what, where and what to do."""

    exit_code = USAGE


class WrongConfigurationError(FailedError):
    """A configuration is refused: a line for each problem, each with its place and how bad it is."""

    def show(self, file: IO[str] | None = None) -> None:
        """Print the problems as `check` does."""
        click.echo(self.message, err=file is None, file=file)


@contextmanager
def explained(results: Path | None = None) -> Iterator[None]:
    """Turn expected failures into a message and exit code 2; anything else is a bug and shows its trace.

    `results` is the folder that is written to, for errors that do not say where they occurred.
    """
    try:
        yield
    except ConfigError as error:
        raise WrongConfigurationError(str(error)) from error
    except Fenced as error:
        message = f"another process took over this log, and this one stopped: {error}; run one at a time"
        raise FailedError(message) from error
    except (InputError, PortError, NewerVersionError, StoppedError) as error:
        raise FailedError("; ".join([str(error), *getattr(error, "__notes__", ())])) from error
    except BrokenPipeError as error:  # whoever read us (`head`, say) has had enough, and needs no message
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its end
        raise click.exceptions.Exit(USAGE) from error
    except OSError as error:
        where = error.filename or results
        place = f"{where}: " if where else ""
        message = f"{place}{error.strerror or error}" + ("; nothing further was written" if results is not None else "")
        raise FailedError(message) from error
