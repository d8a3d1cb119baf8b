"""``prunekit apply``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from .. import console
from ..recipes import load_recipe
from ..runs import Run

logger = logging.getLogger(__name__)


def apply_recipe(
    recipe: str, overrides: Sequence[str], *, name: str | None, output: Path | None, fresh: bool
) -> None:
    """Apply a recipe in its run folder, or continue there, and show the result."""
    loaded = load_recipe(recipe, overrides)
    for note in loaded.notes:
        logger.warning(note)
    from ..stages import run_recipe

    with Run(loaded, name=name, output=output, fresh=fresh) as run:
        if run.finished:
            logger.info("%s is finished; --fresh starts it anew", run.folder)
        else:
            if run.resumed:
                logger.info("continuing %s", run.folder)
            run_recipe(loaded, run)
        show_result(run.folder)


def show_result(folder: Path) -> None:
    """Print a finished run's table, and where its model and report are."""
    console.out().print(folder)
