"""Reading recipes: from a path or a shipped name, what they extend, and overrides."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..shipped import shipped_recipes
from .overrides import apply_overrides, merge
from .schema import Recipe
from .source import Location, Source, dump, parse
from .tasks import complete_tasks, place_of, with_first_task
from .validation import validate

# A recipe's own name is its file's, not that of the recipe it extends; so is what it is compared with.
_NOT_INHERITED = ("name", "description", "compare")


def load_recipe(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """Read, merge and validate a recipe.

    Args:
        path: a YAML file, or the name of a shipped recipe (``"costeff"``, ``"costeff.yaml"``).
        overrides: ``key=value`` with dotted keys, e.g. ``"slenderize.heads=4"``.

    Raises:
        RecipeError: naming file, line, column and key of all that is wrong.
    """
    file = find_recipe(path)
    source = apply_overrides(_read(file, ()), overrides)
    source.data.setdefault("name", file.stem)
    return _checked(source, _shown(file))


def recipe_from_mapping(data: Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from plain data, as :meth:`Recipe.resolved` gives it; ``extends`` is not read.

    Raises:
        RecipeError: naming the keys that are wrong.
    """
    source = apply_overrides(parse(dump(data), "recipe"), overrides)
    return _checked(source, "recipe")


def _checked(source: Source, origin: str) -> Recipe:
    recipe = validate(with_first_task(source), origin)
    if recipe.compare is not None:
        for name, system in recipe.compare.systems.items():
            if system.extends is not None:
                place = place_of(recipe._marks, "compare", "systems", name, "extends")
                system.extends = _settled(system.extends, place)
        complete_tasks(recipe, source, origin)
    return recipe


def _settled(base: str, place: Location) -> str:
    """What a system extends, in words that mean the same wherever the resolved recipe lies."""
    # An override is about the folder one works in.
    beside = Path(place.source) if place.line is not None else Path("override")
    file = _base_file(beside, base, place)
    shipped = shipped_recipes()
    return file.stem if shipped.get(file.stem) == file else str(file.absolute())


def read_base(base: str) -> Source:
    """What a system extends, with all that this extends, but without what is a recipe's own.

    Args:
        base: the name of a shipped recipe, or a file.

    Raises:
        RecipeError: it cannot be read.
    """
    source = _read(find_recipe(base), ())
    for key in _NOT_INHERITED:
        _drop(source, key)
    return source


def find_recipe(path: str | os.PathLike[str]) -> Path:
    """The file that ``path`` means: an existing file, else the shipped recipe of that name."""
    file = Path(path)
    if file.is_file():
        return file
    shipped = shipped_recipes()
    bare = os.fspath(path).removesuffix(".yaml")
    if bare in shipped:
        return shipped[bare]
    if file.exists():
        mend = f"give {file / 'recipe.yaml'}" if (file / "recipe.yaml").is_file() else None
        raise RecipeError(f"{file} is a folder, expected a recipe (a YAML file)", mend)
    same = f"; the shipped recipe is called {file.stem!r}" if file.stem in shipped else ""
    raise RecipeError(
        f"there is no recipe {os.fspath(path)!r}{same}",
        f"give a YAML file, or one of the shipped recipes: {', '.join(shipped)}",
    )


def _read(file: Path, below: tuple[Path, ...]) -> Source:
    """The source of ``file`` over all that it extends."""
    name = _shown(file)
    identity = file.resolve()
    if identity in below:
        chain = " -> ".join(_shown(step) for step in (*below, identity))
        raise RecipeError(f"{name}: extends itself: {chain}", "remove one of these extends")
    try:
        source = parse(file.read_text(encoding="utf-8"), name)
    except UnicodeDecodeError as error:
        raise RecipeError(f"{name}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise RecipeError(f"{name}: cannot be read: {error.strerror}") from error
    if "extends" not in source.data:
        return source
    place = source.marks["extends",]
    base = source.data.pop("extends")
    del source.marks["extends",]
    if not isinstance(base, str):
        raise RecipeError(f"{place}: extends: expected the path of one recipe, found {base!r}")
    inherited = _read(_base_file(file, base, place), (*below, identity))
    for key in _NOT_INHERITED:
        _drop(inherited, key)
    return merge(inherited, source)


def _drop(source: Source, key: str) -> None:
    source.data.pop(key, None)
    for path in [path for path in source.marks if path[0] == key]:
        del source.marks[path]


def _base_file(file: Path, base: str, place: Location) -> Path:
    """What ``extends: base`` in ``file`` means: the file of that path beside it, else a shipped recipe."""
    beside = file.parent / base
    if beside.is_file():
        return beside
    shipped = shipped_recipes()
    name = base.removesuffix(".yaml")
    if name not in shipped:
        where = "the working folder" if place.line is None else f"the folder of {file.name}"
        raise RecipeError(
            f"{place}: extends: there is no file {beside}",
            f"give a path from {where}, or one of the shipped recipes: {', '.join(shipped)}",
        )
    return shipped[name]


def _shown(file: Path) -> str:
    """Short for messages: relative to the working folder where it lies inside."""
    absolute = file.resolve()
    try:
        return str(absolute.relative_to(Path.cwd()))
    except ValueError:
        return str(file)
