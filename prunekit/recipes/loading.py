"""Reading recipes: from a path or a shipped name, what they extend, and overrides."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from .overrides import apply_overrides, merge
from .schema import Recipe
from .source import Location, Source, dump, parse
from .validation import validate

# A recipe's own name is its file's, not that of the recipe it extends.
_NOT_INHERITED = ("name", "description")


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
    return validate(source, _shown(file))


def recipe_from_mapping(data: Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from plain data, as :meth:`Recipe.resolved` gives it; ``extends`` is not read.

    Raises:
        RecipeError: naming the keys that are wrong.
    """
    source = apply_overrides(parse(dump(data), "recipe"), overrides)
    return validate(source, "recipe")


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with prunekit: name -> file."""
    return {file.stem: file for file in sorted(_shipped_folder().glob("*.yaml"))}


def find_recipe(path: str | os.PathLike[str]) -> Path:
    """The file that ``path`` means: an existing file, else the shipped recipe of that name."""
    file = Path(path)
    if file.is_file():
        return file
    shipped = shipped_recipes()
    bare = os.fspath(path).removesuffix(".yaml")
    if file.exists():
        raise RecipeError(f"{file} is a folder, expected a recipe (a YAML file)")
    if bare in shipped:
        return shipped[bare]
    same = f"; the shipped recipe is called {file.stem!r}" if file.stem in shipped else ""
    raise RecipeError(
        f"there is no recipe {os.fspath(path)!r}{same}",
        f"give a YAML file, or one of the shipped recipes: {', '.join(shipped)}",
    )


def _shipped_folder() -> Path:
    """Inside the installed package; in a checkout, the repository's own folder."""
    package = Path(__file__).parent / "builtin"
    return package if package.is_dir() else Path(__file__).parents[2] / "recipes"


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
        inherited.data.pop(key, None)
        inherited.marks.pop((key,), None)
    return merge(inherited, source)


def _base_file(file: Path, base: str, place: Location) -> Path:
    """What ``extends: base`` in ``file`` means: the file of that path beside it, else a shipped recipe."""
    beside = file.parent / base
    if beside.is_file():
        return beside
    shipped = shipped_recipes()
    name = base.removesuffix(".yaml")
    if name not in shipped:
        raise RecipeError(
            f"{place}: extends: there is no file {beside}",
            f"give a path beside {file.name}, or one of the shipped recipes: {', '.join(shipped)}",
        )
    return shipped[name]


def _shown(file: Path) -> str:
    """Short for messages: relative to the working folder where it lies inside."""
    absolute = file.resolve()
    try:
        return str(absolute.relative_to(Path.cwd()))
    except ValueError:
        return str(file)
