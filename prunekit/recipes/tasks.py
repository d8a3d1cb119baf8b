"""The tasks and seeds of a comparison: the first of each are the recipe's own."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import RecipeError
from .overrides import COMMAND_LINE, merge
from .schema import Recipe
from .source import Location, Path, Source
from .validation import validate

_TASKS = ("compare", "tasks")
_SEEDS = ("compare", "seeds")


def with_first_task(source: Source) -> Source:
    """A recipe with the settings of its comparison's first task and seed: its own run is made with them.

    Raises:
        RecipeError: the command line set one of them to something else, which would be lost.
    """
    compare = source.data.get("compare")
    if not isinstance(compare, dict):
        return source
    seeds, tasks = compare.get("seeds"), compare.get("tasks")
    if isinstance(seeds, list) and seeds:
        _refuse_lost(source, {"seed": seeds[0]}, "compare.seeds", "compare.seeds=[{}]")
        source = merge(source, Source({"seed": seeds[0]}, {("seed",): place_of(source.marks, *_SEEDS, "0")}))
    if isinstance(tasks, dict) and tasks:
        name, settings = next(iter(tasks.items()))
        if isinstance(settings, dict):
            own = {key: value for key, value in settings.items() if key != "otherwise"}
            _refuse_lost(source, own, f"compare.tasks.{name}", f"compare.tasks.{name}.{{key}}={{}}")
            source = merge(source, Source(own, rerooted(source.marks, (*_TASKS, name))))
    return source


def _refuse_lost(source: Source, settings: Mapping[str, Any], by: str, mend: str) -> None:
    """Refuse an override that ``settings``, which lie over it, would silently replace by another value."""
    for path in leaves(settings):
        own, value = _value_at(source.data, path)
        over = _value_at(settings, path)[1]
        at = source.marks.get(path)
        if own != path or value == over or at is None or not at.source.startswith(COMMAND_LINE):
            continue
        key = ".".join(path)
        raise RecipeError(
            f"{at.source}={value!r} has no effect: {by} sets {over!r}",
            f"set {mend.format(value, key=key)}, or compare=null to compare with nothing",
        )


def complete_tasks(recipe: Recipe, before: Source, origin: str) -> None:
    """Note the recipe's own values of what its first task sets, which the other tasks fall back to.

    Args:
        recipe: validated, with its first task's settings.
        before: the recipe without them.
        origin: see :func:`~prunekit.recipes.validation.validate`.
    """
    if recipe.compare is None or len(recipe.compare.tasks) < 2:
        return
    first, *others = recipe.compare.tasks.items()
    for name, task in others:
        if task.otherwise:
            continue  # read back from a resolved recipe
        own = validate(_over(before, name, task.settings, recipe), origin).resolved()
        for path in leaves(first[1].settings):
            _set(task.otherwise, *_value_at(own, path))


def task_source(recipe: Recipe, task: str) -> Source:
    """The recipe as it is for one of its tasks, resolved, without what it is compared with."""
    data = recipe.resolved()
    data.pop("compare")
    source = Source(data, dict(recipe._marks))
    assert recipe.compare is not None
    if not recipe.compare.tasks or task == next(iter(recipe.compare.tasks)):
        return source
    settings = recipe.compare.tasks[task]
    return _over(merge(source, Source(settings.otherwise, {})), task, settings.settings, recipe)


def _over(source: Source, task: str, settings: dict[str, Any], recipe: Recipe) -> Source:
    data = {key: value for key, value in source.data.items() if key != "compare"}
    marks = rerooted(recipe._marks, (*_TASKS, task))
    return merge(Source(data, dict(source.marks)), Source(settings, marks))


def rerooted(marks: Mapping[Path, Location], root: Path) -> dict[Path, Location]:
    """The places of the keys under ``root``, by their paths from there."""
    return {path[len(root) :]: at for path, at in marks.items() if path[: len(root)] == root and path != root}


def place_of(marks: Mapping[Path, Location], *path: str) -> Location:
    """Where a key, or the nearest one around it, was set."""
    for length in range(len(path), 0, -1):
        if path[:length] in marks:
            return marks[path[:length]]
    return Location("recipe")


def leaves(settings: Mapping[str, Any], path: Path = ()) -> Iterator[Path]:
    """Paths of all values that are no mappings, or empty ones."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def _value_at(data: Any, path: Path) -> tuple[Path, Any]:
    """The value at a path, or at the last part of it that there is."""
    for depth, part in enumerate(path):
        if not isinstance(data, Mapping) or part not in data:
            return path[:depth], data
        data = data[part]
    return path, data


def _set(data: dict[str, Any], path: Path, value: Any) -> None:
    for part in path[:-1]:
        inner = data.setdefault(part, {})
        if not isinstance(inner, dict):
            return  # what is around it is there already
        data = inner
    data[path[-1]] = copy.deepcopy(value)
