"""``prunekit compare``."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from .. import console
from ..errors import RunError
from ..recipes import Recipe, expand, load_recipe, shipped_recipes
from ..runs import Run, check_result, is_done, kept_settings
from ..runs.checking import MODEL, OUTPUTS
from ..text import shown
from .result import show_comparison
from .sources import is_run

logger = logging.getLogger(__name__)
DEFAULT_FOLDER = Path("comparison")


def compare_sources(arguments: Sequence[str], *, output: Path | None, jobs: int = 1) -> None:
    """Train what the runs' and recipes' comparisons lack, and put all into one report."""
    sources = [argument for argument in arguments if not _is_override(argument)]
    overrides = [argument for argument in arguments if _is_override(argument)]
    if not sources:
        raise RunError("nothing says what to compare", "give run folders or recipes: prunekit compare RUN")
    recipes = [_recipe(source, overrides) for source in sources]
    _refuse_twice(recipes)
    from .. import comparison

    console.quiet_libraries()
    groups = [expand(recipe) for recipe in recipes]
    if sum(map(len, groups)) < 2:
        raise RunError(
            f"{groups[0][0].folder} alone is nothing to compare",
            "give a second run, or say with what: compare.systems='[deebert-slender]'",
        )
    # What is wrong is found before a run's recipe is written anew, and before anything is trained.
    for runs in groups:
        comparison.check(runs)
    comparison.check_systems(groups)
    with ExitStack() as stack:
        held = [stack.enter_context(Run(recipe)) for recipe in recipes]
        for runs in groups:
            comparison.reopen([run for run in runs if not run.subject], stages=False)
        finished = comparison.train(list(zip(held, groups, strict=True)), jobs)
        folder = output or (held[0].report_folder if len(held) == 1 else DEFAULT_FOLDER)
        comparison.write_comparison(comparison.same_systems(finished), folder)
    if console.is_main_process():
        show_comparison(folder)


def _is_override(argument: str) -> bool:
    if re.match(r"[\w.-]+=", argument) is None:
        return False
    # What is longer can be no file's name, and asking for it is an error.
    return len(argument) > 255 or not Path(argument).exists()


def _recipe(source: str, overrides: Sequence[str]) -> Recipe:
    """The recipe of a finished run, to be found where the run lies; or one of the recipes there are."""
    folder = Path(source)
    if not is_run(folder):
        if folder.is_dir() and source not in shipped_recipes():
            raise RunError(
                f"{shown(source, keep='')} is a folder, but no run: it has no recipe.yaml and run.json",
                "give a run's folder, such as runs/costeff, or a recipe",
            )
        recipe = load_recipe(source, overrides)
        for note in recipe.notes:
            logger.warning(note)
        return recipe
    if not is_done(folder):
        raise RunError(
            f"the run {shown(source, keep='')} is not finished",
            "give its prunekit apply command again to continue it; or compare its recipe, which trains it: "
            f"prunekit compare {folder / 'recipe.yaml'}",
        )
    check_result(folder, MODEL, OUTPUTS)
    recipe = load_recipe(folder / "recipe.yaml", overrides)
    if recipe.compare is None or not recipe.compare.grid:
        # Without its grid it is the run that the grid has chosen.
        kept = [f"{key}={json.dumps(value)}" for key, value in kept_settings(folder).items()]
        recipe = load_recipe(folder / "recipe.yaml", [*kept, *overrides])
    # It may have been moved since it was made.
    return recipe.model_copy(update={"name": folder.resolve().name, "output": str(_parent(folder))})


def _parent(folder: Path) -> Path:
    """The folder around a run's, in words as short as they were given."""
    return folder.parent if folder.name not in ("", "..") else folder.resolve().parent


def _refuse_twice(recipes: Sequence[Recipe]) -> None:
    seen: dict[Path, Recipe] = {}
    for recipe in recipes:
        folder = Run(recipe).folder
        if seen.setdefault(folder.resolve(), recipe) is not recipe:
            raise RunError(f"{folder} is given twice", "give each run and recipe once")
