"""Paths to rules, topologies and settings: files found, read, told apart, checked and compiled, with every problem at once."""

import gc
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from correlator.config.files import STDIN, read_file
from correlator.config.located import Document, Mapping
from correlator.config.nearest import Suggester
from correlator.config.problem import ConfigError, Findings, Problem, Severity
from correlator.config.rules import RulesCompiler
from correlator.config.schema import RulesFile, TopologyFile
from correlator.config.settings import Settings, check_names, check_secrets, named_paths
from correlator.config.topology import TopologyCompiler
from correlator.config.validate import Validated, validate
from correlator.model.rule import RuleSet
from correlator.model.topology import Topology

_SUFFIXES: Final = (".yaml", ".yml")
_TESTS: Final = (".test.yaml", ".test.yml")
Kind = type[RulesFile | TopologyFile | Settings]
_KEYS: Final[dict[Kind, tuple[str, ...]]] = {kind: tuple(kind.model_fields) for kind in (RulesFile, TopologyFile, Settings)}
_NAMES: Final[dict[Kind, str]] = {RulesFile: "rules", TopologyFile: "a topology", Settings: "settings"}
_EXPECTED: Final[dict[Kind, str]] = {RulesFile: "rules are expected", TopologyFile: "a topology is expected"}


class Loaded(msgspec.Struct, frozen=True):
    """What a set of paths holds; rules and topology are sound only when `problems` has no error."""

    rules: RuleSet
    topology: Topology
    problems: tuple[Problem, ...]
    files: int
    rule_sets: int
    services: int
    edges: int
    settings: int
    errors: int
    warnings: int


def load(paths: Sequence[str]) -> Loaded:
    """Read rules and topologies from files, folders and `-` (standard input), told apart by their keys; settings are checked too.

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


def _examined(paths: Sequence[str], *, only: Kind | None) -> Loaded:
    """Examine with the cycle collector at rest: millions of values are made, none in cycles, and looking costs a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return _examine(paths, only=only)
    finally:
        if was_enabled:
            gc.enable()


def _examine(paths: Sequence[str], *, only: Kind | None) -> Loaded:
    findings, suggester = Findings(), Suggester()
    checked: dict[Kind, list[Validated]] = {kind: [] for kind in _KEYS}
    files = list(_found(paths, findings))
    for file in files:
        _check(file, checked, findings, suggester=suggester, only=only)
    for settings in checked[Settings]:
        check_names(settings, findings)
        check_secrets(settings, findings)
    named = list(_found(_named_by(checked), findings))
    for file in named:
        _check(file, checked, findings, suggester=suggester, only=None)
    rules_compiler = RulesCompiler(checked[RulesFile], findings=findings)
    rules = rules_compiler.compile()
    topology_compiler = TopologyCompiler(checked[TopologyFile], findings=findings, suggester=suggester)
    topology = topology_compiler.compile()
    if not findings.has_errors:
        rules_compiler.check_services(topology, suggester)
    return Loaded(
        rules=rules,
        topology=topology,
        problems=tuple(findings.problems()),
        files=len(files) + len(named),
        rule_sets=min(len(checked[RulesFile]), 1),
        services=topology_compiler.services,
        edges=topology_compiler.edges,
        settings=len(checked[Settings]),
        errors=findings.count(Severity.ERROR),
        warnings=findings.count(Severity.WARNING),
    )


def _check(file: str, checked: dict[Kind, list[Validated]], findings: Findings, *, suggester: Suggester, only: Kind | None) -> None:
    """Read a file and put what it is into `checked`."""
    document = read_file(file, findings)
    schema = _schema_of(document, findings, only=only) if document is not None else None
    if document is not None and schema is not None:
        checked[schema].append(validate(document, schema, findings=findings, suggester=suggester))


def _named_by(checked: dict[Kind, list[Validated]]) -> list[str]:
    """Answer the paths that a settings file names, if that is all there is: beside other files it may be one of several."""
    if len(checked[Settings]) != 1 or checked[RulesFile] or checked[TopologyFile]:
        return []
    return [path for path in named_paths(checked[Settings][0]) if path != STDIN and os.path.lexists(path)]


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


def _schema_of(document: Document, findings: Findings, *, only: Kind | None) -> Kind | None:
    """Answer what a file is by its keys at the top; None when it is empty, or after recording why it cannot be told."""
    root = document.root
    if only is None and (root is None or root == {}):
        findings.warning(document.mark(), "the file says nothing: it has no keys")
    if root is None:
        return only
    if not isinstance(root, Mapping):
        findings.error(document.mark(), "the file must be a mapping of rules, of a topology or of settings")
        return None
    first_keys = {kind: key for key in reversed(root) for kind in _KEYS if key in _KEYS[kind]}
    for kind, key in first_keys.items():
        if only is not None and kind is not only:
            findings.error(document.mark((key,), of_key=True), f"'{key}' is of {_NAMES[kind]}; {_EXPECTED[only]} here")
            return None
    if len(first_keys) > 1:
        (one, key), (other, second) = list(first_keys.items())[-2:]
        where = document.mark((key,), of_key=True)
        findings.error(where, f"'{key}' is of {_NAMES[one]} and '{second}' of {_NAMES[other]}; write them in two files")
        return None
    if only is not None or first_keys or not root:
        return only or next(iter(first_keys), None)
    first = next(iter(root))
    hint = Suggester().hint(first, [key for keys in _KEYS.values() for key in keys])
    findings.error(document.mark((first,), of_key=True), f"unknown key '{first}', in neither rules, a topology nor settings", hint=hint)
    return None
