"""What is in a run's folder, whoever holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import RecipeError, first_line
from ..files import write_json
from ..recipes import Recipe, recipe_from_mapping
from ..recipes.overrides import set_key
from ..recipes.source import Location, Source, parse
from ..registry import registered_alone
from .records import DONE, INFO, KEPT, DamagedRun, Info, Kept, read_record

RECIPE = "recipe.yaml"
_MEND = (
    "bring it back from a copy, or start anew with --fresh (what is there is kept) or under another name "
    "with --name OTHER"
)


def mark_done(folder: Path, **info: Any) -> None:
    """Say that all of ``folder`` is written. Written last and atomically, so it is there or it is not."""
    write_json(folder / DONE, info)


def is_done(folder: Path) -> bool:
    """Whether :func:`mark_done` was reached."""
    return (folder / DONE).is_file()


def info_of(folder: Path) -> dict[str, Any]:
    """What ``run.json`` holds: ``command``, ``later_commands``, ``versions``, ``machine``, ``seed``.

    Raises:
        DamagedRun: it cannot be read.
    """
    mend = (
        "remove it and apply the recipe again: it is written anew; it tells of the run, and decides nothing"
    )
    return read_record(folder / INFO, Info, mend).model_dump(exclude_unset=True)


def recipe_of(folder: Path) -> Recipe:
    """The recipe that made what is in a run's folder: with what its own grid chose, and nothing to compare.

    Raises:
        DamagedRun: it cannot be read, or was written by a version whose recipes mean nothing to this one.
    """
    try:
        with registered_alone():
            return recipe_from_mapping(made_with(folder))
    except RecipeError as error:
        raise DamagedRun(
            f"{folder / RECIPE} is no recipe of this version: {error.message}", error.mend or _MEND
        ) from error


def kept_settings(folder: Path) -> dict[str, Any]:
    """Dotted key -> value, of what a run's own grid chose; empty where it has none.

    Raises:
        DamagedRun: it cannot be read.
    """
    file = folder / KEPT
    mend = (
        "bring it back from a copy, or remove it and apply the recipe again: a grid then chooses again, of "
        "the trials that are there"
    )
    return read_record(file, Kept, mend).settings if file.is_file() else {}


def compared_with(folder: Path) -> Any:
    """``compare`` of the recipe in a run's folder: what was asked for last."""
    return with_defaults(_asked_for(folder).data).get("compare")


def made_with(folder: Path) -> dict[str, Any]:
    """What was asked for, with what a grid chose of it, and nothing to compare."""
    source = _asked_for(folder)
    source.data.pop("compare", None)
    for key, value in kept_settings(folder).items():
        try:
            source = set_key(source, key, value, Location(str(folder / KEPT)))
        except RecipeError as error:
            raise DamagedRun(f"{folder / KEPT} does not fit {RECIPE}: {error.message}", _MEND) from error
    return source.data


def with_defaults(data: dict[str, Any]) -> dict[str, Any]:
    """A resolved recipe of an earlier version, with the keys that it did not know yet at their defaults."""
    try:
        with registered_alone():
            return recipe_from_mapping(data).resolved()
    except RecipeError:
        return data  # the differences tell why


def _asked_for(folder: Path) -> Source:
    file = folder / RECIPE
    try:
        return parse(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError, RecipeError) as error:
        words = (
            error.message if isinstance(error, RecipeError) else f"cannot read {file}: {first_line(error)}"
        )
        raise DamagedRun(words, _MEND) from error
