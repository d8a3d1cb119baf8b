"""``shares``: what a system of a comparison takes from the recipe that compares.

A list whose items are

- ``slenderize.heads``: a setting of a stage that both have, or ``slenderize``: all of them;
- ``slenderize: {but: [scorer]}``: all settings of the stage but these;
- ``joint.epochs: assistant.epochs``: a setting, from another one;
- ``joint.epochs: {assistant.epochs: 0.5, recover.epochs: 1}``: a weighted sum of others.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import RecipeError
from .schema import Recipe
from .source import Location, Path, Source

Item = str | dict[str, Any]


@dataclass(frozen=True)
class Share:
    """One thing that is taken: ``theirs`` of the system from ``ours`` of the comparing recipe.

    Attributes:
        theirs: path of a stage or of a setting.
        ours: the same, or one path with each factor of a sum.
        but: settings of a whole stage that stay the system's own.
    """

    theirs: Path
    ours: Path | dict[Path, float]
    but: tuple[str, ...] = ()


def take(
    base: Source, recipe: Recipe, items: Sequence[Item], places: Sequence[Location], strict: bool
) -> None:
    """Lay what is shared over the source of a system's recipe.

    Args:
        base: changed in place.
        recipe: the one that compares, as it is for the task.
        items: of ``shares``.
        places: where each was set.
        strict: whether a stage that ``recipe`` lacks is a mistake; else it has nothing to give.

    Raises:
        RecipeError: naming the place of an item that is no such thing, or asks for what is not there.
    """
    there = recipe.resolved()
    for item, at in zip(items, places, strict=True):
        for share in _read(item, at):
            sources = [share.ours] if isinstance(share.ours, tuple) else list(share.ours)
            if not strict and not any(path[0] in recipe.stages for path in sources):
                continue
            if len(share.theirs) == 1:
                _take_stage(base, recipe, share, at)
            elif isinstance(share.ours, tuple):
                value = _value(there, share.ours, at)
                put(base, recipe, share.theirs, value, None if share.ours == share.theirs else at)
            else:
                total = sum(f * _number(there, path, at) for path, f in share.ours.items())
                put(base, recipe, share.theirs, total, at)


def put(base: Source, recipe: Recipe, path: Path, value: Any, at: Location | None = None) -> None:
    """Set a value whole, with the places that its keys have in ``recipe``, or with ``at``."""
    data = base.data
    for part in path[:-1]:
        if not isinstance(data.get(part), dict):
            data[part] = {}
        data = data[part]
    data[path[-1]] = copy.deepcopy(value)
    for mark in [mark for mark in base.marks if mark[: len(path)] == path]:
        del base.marks[mark]
    if at is not None:
        base.marks[path] = at
    else:
        base.marks.update({m: place for m, place in recipe._marks.items() if m[: len(path)] == path})


def _read(item: Item, at: Location) -> list[Share]:
    if isinstance(item, str):
        path = _path(item, at)
        return [Share(path, path)]
    return [_read_pair(_path(theirs, at), ours, at) for theirs, ours in item.items()]


def _read_pair(theirs: Path, ours: Any, at: Location) -> Share:
    if len(theirs) == 1:
        names = ours.get("but") if isinstance(ours, dict) and len(ours) == 1 else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise RecipeError(
                f"{at}: shares: {theirs[0]} is a whole stage, expected what is left out of it",
                f"write {theirs[0]}: {{but: [scorer, teacher]}}, or name one setting: {theirs[0]}.KEY",
            )
        return Share(theirs, theirs, tuple(names))
    if isinstance(ours, str) and len(_path(ours, at)) > 1:
        return Share(theirs, _path(ours, at))
    if isinstance(ours, dict) and ours and all(_is_number(factor) for factor in ours.values()):
        return Share(theirs, {_path(key, at): float(factor) for key, factor in ours.items()})
    raise RecipeError(
        f"{at}: shares: {'.'.join(theirs)}: expected a setting of the recipe that compares, found {ours!r}",
        "write e.g. joint.epochs: assistant.epochs, or with factors joint.epochs: {assistant.epochs: 0.5}",
    )


def _path(key: str, at: Location) -> Path:
    path = tuple(key.split("."))
    if not all(part and part == part.strip() for part in path):
        raise RecipeError(f"{at}: shares: {key!r} is not a stage or the dotted key of a setting")
    return path


def _take_stage(base: Source, recipe: Recipe, share: Share, at: Location) -> None:
    key = share.theirs[0]
    if key not in recipe.stages or key not in (base.data.get("stages") or []):
        whom = "the recipe that compares" if key not in recipe.stages else "the system"
        raise RecipeError(f"{at}: shares: {whom} has no stage {key}", "name stages that both have")
    own = base.data.get(key) or {}
    taken = dict(recipe.config(key).model_dump(mode="json"))
    for name in share.but:
        if name not in taken:
            raise RecipeError(
                f"{at}: shares: {key} has no {name} to leave out", f"its settings: {', '.join(taken)}"
            )
    kept = [name for name in own if name in share.but or name == "uses"]
    places = {mark: place for mark, place in base.marks.items() if mark[0] == key and len(mark) > 1}
    whole = {name: value for name, value in taken.items() if name not in share.but}
    put(base, recipe, (key,), {**{name: own[name] for name in kept}, **whole})
    for mark in [mark for mark in base.marks if mark[0] == key and len(mark) > 1 and mark[1] in share.but]:
        del base.marks[mark]
    base.marks.update({mark: place for mark, place in places.items() if mark[1] in kept})


def _value(there: dict[str, Any], path: Path, at: Location) -> Any:
    """The value at a path of the comparing recipe."""
    value: Any = there
    for part in path:
        if not isinstance(value, dict) or part not in value:
            raise RecipeError(
                f"{at}: shares: the recipe that compares has no {'.'.join(path)}",
                "name stages and settings that it has, e.g. slenderize.heads",
            )
        value = value[part]
    return value


def _number(there: dict[str, Any], path: Path, at: Location) -> float:
    value = _value(there, path, at)
    if not _is_number(value):
        raise RecipeError(f"{at}: shares: {'.'.join(path)} is {value!r}, expected a number to multiply")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
