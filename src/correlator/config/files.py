"""Files of configuration to located documents."""

import sys
from pathlib import Path
from typing import Final

from correlator.config.located import BYTES_LIMIT, Document, read
from correlator.config.problem import ConfigError, Findings

STDIN: Final = "-"
STDIN_SHOWN: Final = "<stdin>"
"""What messages call it."""


def read_file(path: str, findings: Findings) -> Document | None:
    """Read one located document from a file or `-`; records the problem and answers None when that cannot be done."""
    shown = STDIN_SHOWN if path == STDIN else path
    try:
        content = _content(path)
    except OSError as error:
        findings.unreadable(shown, f"cannot be read: {error.strerror or error}")
        return None
    try:
        document = read(content, shown)
    except ConfigError as error:
        for problem in error.problems:
            findings.add(problem)
        return None
    for problem in document.problems:
        findings.add(problem)
    return document


def _content(path: str) -> bytes:
    if path == STDIN:
        return sys.stdin.buffer.read(BYTES_LIMIT + 1)
    with Path(path).open("rb") as file:
        return file.read(BYTES_LIMIT + 1)
