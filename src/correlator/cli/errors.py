"""What every command answers when its input or configuration fails: one clear line each, and exit code 2."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from correlator.config.problem import ConfigError
from correlator.frames.codec import NewerVersionError
from correlator.runtime.files import InputError
from correlator.runtime.ports import PortError

DONE: Final = 0
FINDINGS: Final = 1
USAGE: Final = 2


class FailedError(click.ClickException):
    """A command cannot go on; its message says what, where and what to do."""

    exit_code = USAGE


@contextmanager
def explained() -> Iterator[None]:
    """Turn expected failures into a message and exit code 2; anything else is a bug and shows its trace."""
    try:
        yield
    except ConfigError as error:
        raise FailedError("\n".join(str(problem) for problem in error.problems)) from error
    except (InputError, PortError, NewerVersionError) as error:
        raise FailedError(str(error)) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror or error}; nothing further was written"
        raise FailedError(message) from error
