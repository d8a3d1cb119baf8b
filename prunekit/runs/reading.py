"""What is in a run's folder, whoever holds it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import RecipeError, RunError
from ..files import write_json
from ..recipes import Recipe, recipe_from_mapping
from ..recipes.overrides import set_key
from ..recipes.source import Location, Source, parse
from ..registry import registered_alone

DONE = "done.json"
INFO = "run.json"
KEPT = "kept.json"


def mark_done(folder: Path, **info: Any) -> None:
    """Say that all of ``folder`` is written. Written last and atomically, so it is there or it is not."""
    write_json(folder / DONE, info)


def is_done(folder: Path) -> bool:
    """Whether :func:`mark_done` was reached."""
    return (folder / DONE).is_file()


def info_of(folder: Path) -> dict[str, Any]:
    """What ``run.json`` holds: ``command``, ``later_commands``, ``versions``, ``machine``, ``seed``.

    Raises:
        RunError: it cannot be read.
    """
    file = folder / INFO
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RunError(
            f"cannot read {file}: {error}",
            "bring it back from a copy, or apply the recipe again with --fresh",
        ) from error


def recipe_of(folder: Path) -> Recipe:
    """The recipe that made what is in a run's folder: with what its own grid chose, and nothing to compare.

    Raises:
        RecipeError: it was written by a version whose recipes mean nothing to this one.
    """
    with registered_alone():
        return recipe_from_mapping(made_with(folder))


def kept_settings(folder: Path) -> dict[str, Any]:
    """Dotted key -> value, of what a run's own grid chose; empty where it has none."""
    file = folder / KEPT
    return dict(json.loads(file.read_text(encoding="utf-8"))["settings"]) if file.is_file() else {}


def compared_with(folder: Path) -> Any:
    """``compare`` of the recipe in a run's folder: what was asked for last."""
    return with_defaults(_asked_for(folder).data).get("compare")


def made_with(folder: Path) -> dict[str, Any]:
    """What was asked for, with what a grid chose of it, and nothing to compare."""
    source = _asked_for(folder)
    source.data.pop("compare", None)
    for key, value in kept_settings(folder).items():
        source = set_key(source, key, value, Location(str(folder / KEPT)))
    return source.data


def with_defaults(data: dict[str, Any]) -> dict[str, Any]:
    """A resolved recipe of an earlier version, with the keys that it did not know yet at their defaults."""
    try:
        with registered_alone():
            return recipe_from_mapping(data).resolved()
    except RecipeError:
        return data  # the differences tell why


def _asked_for(folder: Path) -> Source:
    file = folder / "recipe.yaml"
    return parse(file.read_text(encoding="utf-8"), str(file))
