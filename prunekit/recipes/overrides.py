"""Merging: a recipe over the one it extends, and ``key=value`` from the command line over both."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from ..errors import RecipeError
from .source import Location, Path, Source, parse_value

COMMAND_LINE = "command line: "


def merge(base: Source, over: Source) -> Source:
    """``over`` on top of ``base``.

    Mappings merge key by key; any other value replaces. A part (a mapping with ``name``) of another name
    replaces the part whole, since the arguments of the one mean nothing to the other. An empty ``compare``
    turns a comparison off.
    """
    data = copy.deepcopy(base.data)
    marks = dict(base.marks)
    _merge(data, over.data, (), marks, over.marks)
    return Source(data, marks)


def _merge(
    into: dict[str, Any],
    over: dict[str, Any],
    path: Path,
    marks: dict[Path, Location],
    over_marks: dict[Path, Location],
) -> None:
    for key, value in over.items():
        here = (*path, key)
        old = into.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and not _replaces(here, old, value):
            _merge(old, value, here, marks, over_marks)
            continue
        for known in [mark for mark in marks if mark[: len(here)] == here]:
            del marks[known]
        into[key] = copy.deepcopy(value)
        marks.update({mark: place for mark, place in over_marks.items() if mark[: len(here)] == here})


def _replaces(path: Path, old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether a mapping takes another's place: as another part, or where nothing is to be compared."""
    if path == ("compare",) and not new:
        return True
    return "name" in new and "name" in old and new["name"] != old["name"]


def apply_overrides(source: Source, overrides: Sequence[str]) -> Source:
    """Set ``a.b.c=value`` keys, the later ones over the earlier; values are YAML, list items go by index.

    ``compare.systems.NAME=null`` leaves that system out.

    Raises:
        RecipeError: not of that form, a path through something that has no keys, or no such system.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        place = Location(f"{COMMAND_LINE}{key}")
        path = tuple(key.split("."))
        if not equals or not all(part and part == part.strip() for part in path):
            raise RecipeError(
                f"command line: {override!r} is not an override",
                "overrides have the form key=value, for example slenderize.heads=4 data.task=mrpc",
            )
        value = parse_value(text, str(place))
        if value is None and len(path) == 3 and path[:2] == ("compare", "systems"):
            source = _without_system(source, path, place)
        else:
            source = _set(source, path, value, place)
    return source


def _without_system(source: Source, path: Path, place: Location) -> Source:
    compare = source.data.get("compare")
    systems = compare.get("systems") if isinstance(compare, dict) else None
    if isinstance(systems, list):
        raise RecipeError(
            f"{place}: compare.systems is a list, which is given whole",
            f"compare.systems='[...]' with what is to stay of {', '.join(map(str, systems))}",
        )
    if not isinstance(systems, dict) or path[2] not in systems:
        raise RecipeError(
            f"{place}: there is no system {path[2]!r} to leave out",
            f"the systems are {', '.join(systems)}" if systems else "the recipe is compared with nothing",
        )
    data = copy.deepcopy(source.data)
    del data["compare"]["systems"][path[2]]
    return Source(data, {mark: at for mark, at in source.marks.items() if mark[:3] != path})


def set_key(source: Source, key: str, value: Any, place: Location) -> Source:
    """``source`` with a dotted key set to a value that ``place`` gave it.

    Raises:
        RecipeError: a path through something that has no keys.
    """
    return _set(source, tuple(key.split(".")), value, place)


def _set(source: Source, path: Path, value: Any, place: Location) -> Source:
    position, parent = _list_on_the_way(source.data, path, place)
    if parent is None:
        nested: Any = value
        for part in reversed(path):
            nested = {part: nested}
        return merge(source, Source(nested, _marks_under(nested, place)))
    items = copy.deepcopy(parent)
    index = _index(path, position, len(items), place)
    rest = path[position + 1 :]
    if rest:
        if not isinstance(items[index], dict):
            raise RecipeError(
                f"{place}: {'.'.join(path[: position + 1])} is {items[index]!r}, which has no keys"
            )
        inner = _set(Source(items[index], {}), rest, value, place)
        items[index] = inner.data
    else:
        items[index] = value
    changed = _set(source, path[:position], items, place)
    # The list's other items stay where they were set.
    kept = {mark: at for mark, at in source.marks.items() if mark[:position] == path[:position]}
    kept = {mark: at for mark, at in kept.items() if mark[: position + 1] != path[: position + 1]}
    return Source(changed.data, {**changed.marks, **kept})


def _list_on_the_way(data: Any, path: Path, place: Location) -> tuple[int, list[Any] | None]:
    """Position in ``path`` of the first index into a list, and that list."""
    for position, part in enumerate(path):
        if isinstance(data, list):
            return position, data
        if not isinstance(data, dict) or part not in data:
            break
        data = data[part]
    else:
        return len(path), None
    if data is not None and not isinstance(data, dict):
        done = ".".join(path[:position])
        raise RecipeError(
            f"{place}: {done} is {data!r}, which has no keys",
            f"write {done}='{{name: {data}, {path[position]}: ...}}' to give a part arguments"
            if isinstance(data, str)
            else None,
        )
    return len(path), None


def _index(path: Path, position: int, size: int, place: Location) -> int:
    part = path[position]
    if not part.isdecimal() or int(part) >= size:
        raise RecipeError(
            f"{place}: {'.'.join(path[:position])} is a list of {size}, and {part!r} is not an index into it",
            f"give a number from 0 to {size - 1}, or the whole list in brackets",
        )
    return int(part)


def _marks_under(data: Any, place: Location, path: Path = ()) -> dict[Path, Location]:
    marks = {path: place} if path else {}
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        marks.update(_marks_under(value, place, (*path, str(key))))
    return marks
