"""The parts there are, read from their source: nothing is imported, and listing does not wait for PyTorch."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from .registry import Entry, package_of
from .text import shown

PACKAGE = Path(__file__).parent


def described(package: str) -> list[Entry]:
    """Every part of one kind, with its summary and the module it comes from.

    Args:
        package: that holds the built-in parts, e.g. ``"prunekit.scorers"``; also the entry-point group.
    """
    found = {entry.name: entry for entry in _built_in(package)}
    for point in entry_points(group=package):
        if point.name not in found and (entry := _of(point)) is not None:
            found[point.name] = entry
    return [found[name] for name in sorted(found)]


def has_parts_of_others() -> bool:
    """Whether another package adds parts."""
    return any(group.startswith("prunekit.") for group in entry_points().groups)


def shipped_schema() -> str:
    """JSON Schema of recipes that name the built-in parts alone."""
    return (PACKAGE / "recipes" / "schema.json").read_text("utf-8")


def _built_in(package: str) -> Iterator[Entry]:
    folder = PACKAGE.joinpath(*package.split(".")[1:])
    for file in sorted(folder.glob("*.py")):
        module = package if file.stem == "__init__" else f"{package}.{file.stem}"
        for part in _classes(file):
            for decorator in part.decorator_list:
                if (
                    isinstance(decorator, ast.Call)
                    and ast.unparse(decorator.func) in ("register", "registry.register")
                    and isinstance(decorator.args[0], ast.Constant)
                ):
                    yield Entry(str(decorator.args[0].value), _summary(part), module)


def _of(point: EntryPoint) -> Entry | None:
    """The part of another package; ``None``, with a warning, where there is no such module."""
    file = _source(point.module)
    if file is None:
        warnings.warn(
            f"{point.name!r} of {package_of(point)} is left out "
            f"({point.group}: {shown(point.value, keep='')}): there is no such module",
            stacklevel=3,
        )
        return None
    part = next((part for part in _classes(file) if part.name == point.attr), None)
    return Entry(point.name, "" if part is None else _summary(part), point.module)


def _source(module: str) -> Path | None:
    """The file of a module, whose packages are not imported either."""
    path: list[str] | None = None
    spec = None
    names = module.split(".")
    for number in range(1, len(names) + 1):
        spec = PathFinder.find_spec(".".join(names[:number]), path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
    return None if spec is None or spec.origin is None else Path(spec.origin)


def _classes(file: Path) -> list[ast.ClassDef]:
    if file.suffix != ".py":
        return []
    tree = ast.parse(file.read_text("utf-8"))
    return [node for node in tree.body if isinstance(node, ast.ClassDef)]


def _summary(part: ast.ClassDef) -> str:
    return (ast.get_docstring(part) or "").split("\n", 1)[0]
