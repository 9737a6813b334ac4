"""The house rules as checks over source text.

Each check takes the text of one file and returns its findings as `line: what is wrong`, in the order of the lines.
They read the syntax tree and know no types: they catch the slip, not the sabotage.
"""

import ast
import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple

MAX_FUNCTION_LINES = 60  # the 99th percentile of the codebases we admire
MAX_MODULE_LINES = 500

CLOCK_AND_CHANCE_MODULES = ("time", "datetime", "zoneinfo", "calendar", "random", "secrets", "uuid", "importlib")
CALENDAR_MAY_IMPORT = ("datetime", "zoneinfo")
CLOCK_CALLS = ("now", "utcnow", "today", "monotonic", "monotonic_ns", "perf_counter", "time_ns", "process_time", "localtime", "gmtime")
WORLD_CALLS = ("open", "print", "input", "eval", "exec", "__import__")
UNSTABLE_CALLS = ("hash", "id")  # differ from run to run: PYTHONHASHSEED, addresses

SET_METHODS = ("union", "intersection", "difference", "symmetric_difference")
SET_OPERATORS = (ast.BitAnd, ast.BitOr, ast.BitXor, ast.Sub)
ORDER_KEEPERS = ("list", "tuple", "enumerate", "iter", "zip", "map", "filter", "join", "fromkeys", "extend")

# Spelled in pieces, so that this file does not find itself.
MACHINE_PATH = re.compile(r"(?<![\w.)}\]-])/(?:" + "|".join(("wo" + "rk", "ro" + "ot", "tm" + "p/brief")) + r")(?![\w-])")
INDEX_OPTION = re.compile("--(?:extra-)?index" + "-url|--trusted" + "-host|--find" + "-links")


class Finding(NamedTuple):
    """What is wrong, and on which line (from 1)."""

    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.line}: {self.what}"


Check = Callable[[str], list[Finding]]


def clocks(source: str, *, is_calendar: bool = False) -> list[Finding]:
    """Find imports and calls of a clock or of chance; the calendar may import dates and zones, never ask for today."""
    tree = ast.parse(source)
    allowed = CALENDAR_MAY_IMPORT if is_calendar else ()
    imports = [
        Finding(line, f"imports {module}")
        for line, module in _imports(tree)
        if module in CLOCK_AND_CHANCE_MODULES and module not in allowed
    ]
    calls = [Finding(call.lineno, f"calls {name}()") for call, name in _calls(tree) if name in CLOCK_CALLS]
    return sorted(imports + calls)


def world(source: str) -> list[Finding]:
    """Find what reaches the world without an import, or differs from run to run: `open`, `print`, `eval`, `hash`, `id`, coroutines."""
    tree = ast.parse(source)
    banned = WORLD_CALLS + UNSTABLE_CALLS
    inside_dunder_hash = {id(call) for call in _inside_dunder_hash(tree)}
    calls = [
        Finding(call.lineno, f"calls {name}()")
        for call, name in _calls(tree)
        if isinstance(call.func, ast.Name) and name in banned and id(call) not in inside_dunder_hash
    ]
    coroutines = [Finding(node.lineno, f"async def {node.name}") for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)]
    return sorted(calls + coroutines)


def lengths(source: str) -> list[Finding]:
    """Find functions and modules that a reader must scroll through."""
    found = [
        Finding(node.lineno, f"{node.name} has {_lines(node)} lines, at most {MAX_FUNCTION_LINES}")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _lines(node) > MAX_FUNCTION_LINES
    ]
    count = len(source.splitlines())
    if count > MAX_MODULE_LINES:
        found.append(Finding(1, f"the module has {count} lines, at most {MAX_MODULE_LINES}"))
    return sorted(found)


def blanket_catches(source: str) -> list[Finding]:
    """Find `except:`, `except Exception`, `except BaseException` and `suppress` of either."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler) and (node.type is None or _is_blanket(node.type)):
            found.append(Finding(node.lineno, "catches everything"))
        if isinstance(node, ast.Call) and _called(node) == "suppress" and any(map(_is_blanket, node.args)):
            found.append(Finding(node.lineno, "suppresses everything"))
    return sorted(found)


def sleeps(source: str) -> list[Finding]:
    """Find calls of any `sleep`: a test waits for a condition or moves its own clock."""
    return sorted(Finding(call.lineno, "sleeps") for call, name in _calls(ast.parse(source)) if name == "sleep")


def set_iterations(source: str) -> list[Finding]:
    """Find loops, comprehensions and ordered copies of what is plainly a set; `sorted(...)` of it is the cure.

    Plainly: a display, a call, a set operation, or a name or attribute that this file annotates or builds as one.
    A set made from a set is no finding.
    """
    tree = ast.parse(source)
    attributes = _set_attributes(tree)
    found = []
    for scope in _scopes(tree):
        names = _set_names(scope)
        nodes = list(_own_nodes(scope))
        found += [
            Finding(iterable.lineno, f"iterates a set: {ast.unparse(iterable)}")
            for iterable in chain.from_iterable(map(_ordered_uses, nodes))
            if _is_set(iterable, names=names, attributes=attributes)
        ]
    return sorted(found)


def machine_paths(text: str) -> list[Finding]:
    """Find paths of one particular machine, and options that choose a package index."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        found += [Finding(number, f"names {match.group()}") for match in MACHINE_PATH.finditer(line)]
        found += [Finding(number, f"chooses an index: {match.group()}") for match in INDEX_OPTION.finditer(line)]
    return found


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, top-level package) of every import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module.partition(".")[0]


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Yield every call with the last part of the name called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, _called(node)


def _called(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _inside_dunder_hash(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "__hash__":
            yield from (call for call, _ in _calls(node))


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _is_blanket(caught: ast.expr) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(map(_is_blanket, caught.elts))
    return ast.unparse(caught).rpartition(".")[2] in ("Exception", "BaseException")


Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _scopes(tree: ast.Module) -> list[Scope]:
    return [tree, *(node for node in ast.walk(tree) if isinstance(node, FUNCTIONS))]


def _own_nodes(scope: Scope) -> Iterator[ast.AST]:
    """Yield the nodes of a scope without those of the functions inside it."""
    waiting: list[ast.AST] = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, FUNCTIONS):
            waiting.extend(ast.iter_child_nodes(node))


def _set_names(scope: Scope) -> set[str]:
    """Name the variables of a scope that are sets wherever they are assigned."""
    sets: set[str] = set()
    others: set[str] = set()
    if isinstance(scope, FUNCTIONS):
        arguments = scope.args.posonlyargs + scope.args.args + scope.args.kwonlyargs
        sets.update(argument.arg for argument in arguments if _is_set_type(argument.annotation))
    for node in _own_nodes(scope):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            (sets if _is_set_type(node.annotation) else others).add(node.target.id)
        if isinstance(node, ast.Assign):
            names = {target.id for target in node.targets if isinstance(target, ast.Name)}
            (sets if _is_set(node.value, names=sets, attributes=set()) else others).update(names)
    return sets - others


def _set_attributes(tree: ast.Module) -> set[str]:
    """Name the attributes that this file annotates or builds as sets, in a class body or on `self`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            fields = [line for line in node.body if isinstance(line, ast.AnnAssign)]
            found |= {ast.unparse(field.target) for field in fields if _is_set_type(field.annotation)}
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute) and _is_set_type(node.annotation):
            found.add(node.target.attr)
        if isinstance(node, ast.Assign) and _is_set(node.value, names=set(), attributes=set()):
            found |= {target.attr for target in node.targets if isinstance(target, ast.Attribute)}
    return found


def _is_set_type(annotation: ast.expr | None) -> bool:
    if annotation is None:
        return False
    return re.match(r"['\"]?(?:set|frozenset|Set|AbstractSet)\b", ast.unparse(annotation)) is not None


def _is_set(node: ast.expr, *, names: set[str], attributes: set[str]) -> bool:
    """Tell whether an expression is plainly a set."""
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.Name):
        return node.id in names
    if isinstance(node, ast.Attribute):
        return node.attr in attributes
    if isinstance(node, ast.Call):
        return _is_set_call(node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, SET_OPERATORS):
        sides = (node.left, node.right)
        return any(_is_set(side, names=names, attributes=attributes) or _is_keys(side) for side in sides)
    return False


def _is_set_call(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Name):
        return call.func.id in ("set", "frozenset")
    return isinstance(call.func, ast.Attribute) and call.func.attr in SET_METHODS


def _is_keys(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and _called(node) == "keys"


def _ordered_uses(node: ast.AST) -> list[ast.expr]:
    """List the expressions whose order this node lets through."""
    if isinstance(node, ast.For):
        return [node.iter]
    if isinstance(node, ast.ListComp | ast.DictComp | ast.GeneratorExp):
        return [generator.iter for generator in node.generators]
    if isinstance(node, ast.Starred):
        return [node.value]
    if isinstance(node, ast.Call) and _called(node) in ORDER_KEEPERS:
        return list(node.args)
    return []
