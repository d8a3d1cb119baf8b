"""``prunekit apply``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from .. import console
from ..recipes import expand, load_recipe
from ..runs import Run
from .result import show_result
from .sources import as_overrides

logger = logging.getLogger(__name__)


def apply_recipe(
    recipe: str,
    overrides: Sequence[str],
    *,
    name: str | None,
    output: Path | None,
    fresh: bool,
    jobs: int = 1,
) -> None:
    """Apply a recipe in its run folder and train what it is compared with, or continue; show the result."""
    loaded = load_recipe(recipe, [*overrides, *as_overrides(name=name, output=output)])
    for note in loaded.notes:
        logger.warning(note)
    from .. import comparison

    console.quiet_libraries()
    runs = expand(loaded)
    with Run(loaded, fresh=fresh) as run:
        comparison.reopen(runs)
        if comparison.finished(runs):
            logger.info("%s is finished; --fresh starts it anew", run.folder)
        else:
            # Whatever can be found wrong without computing is found first, of all that is compared.
            comparison.check(runs)
        done = comparison.train([(run, runs)], jobs)[0]
        if len(done) > 1:
            comparison.write_comparison(done, run.report_folder)
    if console.is_main_process():
        show_result(run.folder)
