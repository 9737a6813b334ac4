"""What is wrong with a configuration: a severity, a place, one sentence, and what was probably meant."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec

REPORT_LIMIT: Final = 1000
"""Problems of one severity kept by one load; a generated file may hold the same mistake 100,000 times."""


class Severity(StrEnum):
    """Whether a problem refuses the configuration or only deserves a look."""

    ERROR = "error"
    WARNING = "warning"


class Mark(msgspec.Struct, frozen=True, order=True):
    """A place in a file; line and column count from 1, and are 0 where the whole file is meant."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Problem(msgspec.Struct, frozen=True):
    """One mistake; `is_unreadable` where a path could not be read at all, which is no fault of what it holds."""

    severity: Severity
    where: Mark
    message: str
    hint: str = ""
    is_unreadable: bool = False

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.where}: {self.severity}: {self.message}{hint}"


class ConfigError(Exception):
    """The configuration is refused; `problems` holds every error and warning found, in the order of files and lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class Findings:
    """Collects the problems of one load, up to `REPORT_LIMIT` of each severity, and counts the rest."""

    def __init__(self) -> None:
        self._kept: dict[Severity, list[Problem]] = {Severity.ERROR: [], Severity.WARNING: []}
        self._dropped: dict[Severity, int] = {Severity.ERROR: 0, Severity.WARNING: 0}

    def error(self, where: Mark, message: str, *, hint: str = "") -> None:
        """Record a mistake that refuses the configuration."""
        self.add(Problem(severity=Severity.ERROR, where=where, message=message, hint=hint))

    def warning(self, where: Mark, message: str, *, hint: str = "") -> None:
        """Record what is allowed but probably not meant."""
        self.add(Problem(severity=Severity.WARNING, where=where, message=message, hint=hint))

    def unreadable(self, file: str, message: str, *, hint: str = "") -> None:
        """Record a path that cannot be read."""
        self.add(Problem(severity=Severity.ERROR, where=Mark(file), message=message, hint=hint, is_unreadable=True))

    def add(self, problem: Problem) -> None:
        """Record a problem found elsewhere."""
        kept = self._kept[problem.severity]
        if len(kept) < REPORT_LIMIT:
            kept.append(problem)
        else:
            self._dropped[problem.severity] += 1

    @property
    def has_errors(self) -> bool:
        """Whether anything refuses the configuration."""
        return bool(self._kept[Severity.ERROR])

    @property
    def is_full(self) -> bool:
        """Whether further errors are only counted, so that costly hints can be left out."""
        return len(self._kept[Severity.ERROR]) >= REPORT_LIMIT

    def count(self, severity: Severity) -> int:
        """Answer how many problems of this severity were found, kept or not."""
        return len(self._kept[severity]) + self._dropped[severity]

    def problems(self) -> list[Problem]:
        """Answer what was found by file and line; what the limit dropped is one last problem a severity."""
        found = [problem for kept in self._kept.values() for problem in kept]
        found.sort(key=lambda problem: problem.where)
        for severity, dropped in self._dropped.items():
            if dropped:
                found.append(Problem(severity=severity, where=Mark("…"), message=f"{dropped} more like these, not listed"))
        return found
