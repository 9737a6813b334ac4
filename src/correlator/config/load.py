"""Paths to rules and a topology: files found, read, told apart, checked and compiled, with every problem at once."""

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from correlator.config.located import BYTES_LIMIT, Document, Mapping, read
from correlator.config.nearest import Suggester
from correlator.config.problem import ConfigError, Findings, Problem, Severity
from correlator.config.rules import RulesCompiler
from correlator.config.schema import RulesFile, TopologyFile
from correlator.config.topology import TopologyCompiler
from correlator.config.validate import Validated, validate
from correlator.model.rule import RuleSet
from correlator.model.topology import Topology

STDIN: Final = "-"
_SUFFIXES: Final = (".yaml", ".yml")
_TESTS: Final = (".test.yaml", ".test.yml")
_RULES_KEYS: Final = tuple(RulesFile.model_fields)
_TOPOLOGY_KEYS: Final = tuple(TopologyFile.model_fields)


class Loaded(msgspec.Struct, frozen=True):
    """What a set of paths holds; rules and topology are sound only when `problems` has no error."""

    rules: RuleSet
    topology: Topology
    problems: tuple[Problem, ...]
    files: int
    rule_sets: int
    services: int
    edges: int
    errors: int
    warnings: int


def load(paths: Sequence[str]) -> Loaded:
    """Read rules and topologies from files, folders and `-` (standard input), told apart by their keys.

    Raises `ConfigError` with every problem when one of them is an error; warnings alone stand in the answer.
    """
    loaded = examine(paths)
    if loaded.errors:
        raise ConfigError(loaded.problems)
    return loaded


def load_rules(paths: Sequence[str]) -> tuple[RuleSet, list[Problem]]:
    """Read rules only; a topology among the paths is an error. Answers the rules and the warnings; raises `ConfigError`."""
    loaded = _examined(paths, only=RulesFile)
    if loaded.errors:
        raise ConfigError(loaded.problems)
    return loaded.rules, list(loaded.problems)


def load_topology(paths: Sequence[str]) -> tuple[Topology, list[Problem]]:
    """Read topologies only; rules among the paths are an error. Answers the graph and the warnings; raises `ConfigError`."""
    loaded = _examined(paths, only=TopologyFile)
    if loaded.errors:
        raise ConfigError(loaded.problems)
    return loaded.topology, list(loaded.problems)


def examine(paths: Sequence[str]) -> Loaded:
    """Do as `load` does, and answer errors with what could be counted in place of raising them."""
    return _examined(paths, only=None)


def read_file(path: str, findings: Findings) -> Document | None:
    """Read one located document from a file or `-`; records the problem and answers None when that cannot be done."""
    shown = "<stdin>" if path == STDIN else path
    try:
        content = _content(path)
    except OSError as error:
        findings.unreadable(shown, f"cannot be read: {error.strerror or error}")
        return None
    try:
        return read(content, shown)
    except ConfigError as error:
        for problem in error.problems:
            findings.add(problem)
        return None


def _examined(paths: Sequence[str], *, only: type[RulesFile | TopologyFile] | None) -> Loaded:
    """Examine with the cycle collector at rest: millions of values are made, none in cycles, and looking costs a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return _examine(paths, only=only)
    finally:
        if was_enabled:
            gc.enable()


def _examine(paths: Sequence[str], *, only: type[RulesFile | TopologyFile] | None) -> Loaded:
    findings, suggester = Findings(), Suggester()
    files = list(_found(paths, findings))
    rules_files: list[Validated] = []
    topology_files: list[Validated] = []
    for file in files:
        document = read_file(file, findings)
        schema = _schema_of(document, findings, only=only) if document is not None else None
        if document is None or schema is None:
            continue
        validated = validate(document, schema, findings=findings, suggester=suggester)
        (rules_files if schema is RulesFile else topology_files).append(validated)
    rules_compiler = RulesCompiler(rules_files, findings=findings)
    rules = rules_compiler.compile()
    topology_compiler = TopologyCompiler(topology_files, findings=findings, suggester=suggester)
    topology = topology_compiler.compile()
    if not findings.has_errors:
        rules_compiler.check_services(topology, suggester)
    return Loaded(
        rules=rules,
        topology=topology,
        problems=tuple(findings.problems()),
        files=len(files),
        rule_sets=min(len(rules_files), 1),
        services=topology_compiler.services,
        edges=topology_compiler.edges,
        errors=findings.count(Severity.ERROR),
        warnings=findings.count(Severity.WARNING),
    )


def _found(paths: Sequence[str], findings: Findings) -> Iterator[str]:
    """Yield the files to read, each once; folders in the order of their names, without hidden files and rule tests."""
    seen: dict[str, None] = {}
    for path in paths:
        if path == STDIN:
            candidates = [STDIN]
        elif not os.path.lexists(path):
            findings.unreadable(path, "no such file or folder")
            continue
        else:
            candidates = _in_folder(path, findings) if Path(path).is_dir() else [path]
        for candidate in candidates:
            real = candidate if candidate == STDIN else os.path.realpath(candidate)
            if real not in seen and not candidate.endswith(_TESTS):
                seen[real] = None
                yield candidate


def _in_folder(folder: str, findings: Findings) -> list[str]:
    """Answer YAML files below a folder; hidden ones are left out, as mounted Kubernetes maps keep second copies in them."""
    found: list[Path] = []
    unreadable: list[OSError] = []
    for here, folders, files in os.walk(folder, onerror=unreadable.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(here, name) for name in files if name.endswith(_SUFFIXES) and not name.startswith(".")]
    for error in unreadable:
        findings.unreadable(str(error.filename), f"cannot be read: {error.strerror}")
    found.sort(key=lambda path: path.parts)
    return [str(path) for path in found]


def _content(path: str) -> bytes:
    if path == STDIN:
        return sys.stdin.buffer.read(BYTES_LIMIT + 1)
    with Path(path).open("rb") as file:
        return file.read(BYTES_LIMIT + 1)


def _schema_of(
    document: Document, findings: Findings, *, only: type[RulesFile | TopologyFile] | None
) -> type[RulesFile | TopologyFile] | None:
    """Answer what a file is by its keys at the top; None when it is empty, or after recording why it cannot be told."""
    root = document.root
    if root is None or not isinstance(root, Mapping):
        if root is not None:
            findings.error(document.mark(), "the file must be a mapping of rules or of a topology")
        return only if root is None else None
    in_rules = [key for key in root if key in _RULES_KEYS]
    in_topology = [key for key in root if key in _TOPOLOGY_KEYS]
    if in_rules and in_topology:
        where = document.mark((in_topology[0],), of_key=True)
        findings.error(where, f"'{in_topology[0]}' is of a topology and '{in_rules[0]}' of rules; write them in two files")
        return None
    if only is RulesFile and in_topology:
        findings.error(document.mark((in_topology[0],), of_key=True), f"'{in_topology[0]}' is of a topology; rules are expected here")
        return None
    if only is TopologyFile and in_rules:
        findings.error(document.mark((in_rules[0],), of_key=True), f"'{in_rules[0]}' is of rules; a topology is expected here")
        return None
    if only is not None or in_rules or in_topology or not root:
        return only or (RulesFile if in_rules else TopologyFile if in_topology else None)
    first = next(iter(root))
    hint = Suggester().hint(first, (*_RULES_KEYS, *_TOPOLOGY_KEYS))
    findings.error(document.mark((first,), of_key=True), f"unknown key '{first}', in neither rules nor a topology", hint=hint)
    return None
