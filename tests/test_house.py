"""The rules of the floor plan that a tool can check: CONTRIBUTING.md says them for people."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from penstock import __file__ as package_file

PACKAGE = Path(package_file).parent
MOST_IN_A_FOLDER = 15


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        words = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(words[:-1] if words[-1] == "__init__" else words)] = path
    return found


def imported_at_load(body: Iterable[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """What runs when the module is loaded: nothing within functions, and nothing that is for type checkers only."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.unparse(node.test):
                yield from imported_at_load(node.body)
            yield from imported_at_load(node.orelse)
        elif isinstance(node, ast.Try):
            yield from imported_at_load(
                [*node.body, *(s for h in node.handlers for s in h.body), *node.orelse]
            )
        elif isinstance(node, ast.ClassDef | ast.With):
            yield from imported_at_load(node.body)


def uses(known: dict[str, Path]) -> dict[str, set[str]]:
    """Which modules of the package each one loads."""
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        own = found[name] = set[str]()
        for node in imported_at_load(ast.parse(path.read_text()).body):
            if isinstance(node, ast.Import):
                own |= {alias.name for alias in node.names}
            else:
                assert not node.level, f"{path}: relative import"
                named = [f"{node.module}.{alias.name}" for alias in node.names]
                own |= {full if full in known else str(node.module) for full in named}
        found[name] = own & known.keys() - {name}
    return found


def circles(graph: dict[str, set[str]]) -> set[str]:
    """The nodes that are left when those without a successor that is left are taken away, and those without a
    predecessor."""
    left = {name: set(to) for name, to in graph.items()}
    while True:
        reached = {to for targets in left.values() for to in targets}
        ends = {name for name, to in left.items() if not to or name not in reached}
        if not ends:
            return set(left)
        left = {name: to - ends for name, to in left.items() if name not in ends}


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"b"}, "d": set(), "e": {"a"}}
    assert circles(graph) == {"b", "c"}
    assert circles(graph | {"c": set()}) == set()


def test_no_modules_import_each_other() -> None:
    graph = uses(modules())
    assert sum(map(len, graph.values())) > len(graph)
    assert circles(graph) == set()


def test_no_name_of_a_module_is_there_twice_within_a_layer() -> None:
    places = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        own = path.relative_to(PACKAGE)
        if own.name not in ("__init__.py", "__main__.py"):
            places[own.parts[0], own.name].append(str(own))
    assert [own for own in places.values() if len(own) > 1] == []


def test_no_folder_has_too_many_modules() -> None:
    folders = Counter(path.parent for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    assert {str(folder): n for folder, n in folders.items() if n > MOST_IN_A_FOLDER} == {}
