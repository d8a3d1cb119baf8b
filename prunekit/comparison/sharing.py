"""Stages that several runs of a comparison begin with are trained once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from ..files import plain
from ..recipes import Recipe
from ..runs import Run, is_done, recipe_of
from ..stages.metrics import MetricsLog

logger = logging.getLogger(__name__)
# What a stage needs on its way, and removes when it is done.
_SCRATCH = ("parts", "work")


def prefix_digests(recipe: Recipe) -> list[str]:
    """One digest for each stage: of all that decides its result, the stages before it included.

    Where two recipes agree in the digest of their n-th stage, their first n stages make the same models, bit
    for bit, on the same machine.
    """
    digests, before = [], ""
    for key in recipe.stages:
        inputs = recipe.stage_class(key)(recipe.config(key)).inputs(recipe, key)
        text = json.dumps([before, plain(inputs)], sort_keys=True)
        before = hashlib.sha256(text.encode()).hexdigest()
        digests.append(before)
    return digests


class Pool:
    """The runs of a comparison, as what they can take over from each other.

    Args:
        recipes: of all its runs, made already or not.
    """

    def __init__(self, recipes: Iterable[Recipe]) -> None:
        self._makers: dict[str, list[Path]] = {}
        for recipe in recipes:
            run = Run(recipe)
            for number, (key, digest) in enumerate(
                zip(recipe.stages, prefix_digests(recipe), strict=True), 1
            ):
                self._makers.setdefault(digest, []).append(run.stage_folder(number, key))

    def take_over(self, recipe: Recipe, run: Run) -> list[str]:
        """Give a run the first stages that it lacks and another run has; the keys of those taken over.

        A stage appears in the run's folder whole, its ``done.json`` with it. Killed at any moment and called
        again, it goes on.
        """
        taken = []
        for number, (key, digest) in enumerate(zip(recipe.stages, prefix_digests(recipe), strict=True), 1):
            folder = run.stage_folder(number, key)
            if is_done(folder):
                continue
            source = self._source(folder, digest, number)
            if source is None:
                break
            _copy_metrics(source.parents[1], run.folder, key)
            _take(source, folder)
            logger.info("%s is that of %s", key, source.parents[1])
            taken.append(key)
        return taken

    def makers_of_next(self, recipe: Recipe) -> list[Path]:
        """Folders of the other runs that may be at the first stage that a run lacks and cannot take over."""
        for number, (key, digest) in enumerate(zip(recipe.stages, prefix_digests(recipe), strict=True), 1):
            own = Run(recipe).stage_folder(number, key)
            there = is_done(own) and _was_made(own, digest, number)
            if not there and self._source(own, digest, number) is None:
                return [made.parents[1] for made in self._makers.get(digest, []) if made != own]
        return []

    def _source(self, folder: Path, digest: str, number: int) -> Path | None:
        """Another folder that holds what a stage of a run makes."""
        for made in self._makers.get(digest, []):
            if made != folder and _can_be_taken(made) and _was_made(made, digest, number):
                return made
        return None


def _can_be_taken(stage: Path) -> bool:
    """Whether the stage is done, and all the models it made lie in its folder."""
    if not is_done(stage):
        return False
    models = _read(stage / "done.json")["models"]
    inside = f"stages/{stage.name}/"
    return bool(models) and all(path.startswith(inside) for path in models.values())


def _was_made(stage: Path, digest: str, number: int) -> bool:
    """Whether the stage was made so: a run with a grid may come to be made with any of its settings."""
    try:
        return prefix_digests(recipe_of(stage.parents[1]))[number - 1] == digest
    except RecipeError:
        return False  # of another version; opening that run says so


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8")))


def _copy_metrics(source: Path, target: Path, key: str) -> None:
    """What was measured in a stage; a record that is there already is replaced by itself."""
    log = MetricsLog(target / "metrics.jsonl")
    for record in MetricsLog(source / "metrics.jsonl").records(stage=key):
        log.log(**record)
    log.compact()


def _take(source: Path, folder: Path) -> None:
    """Link the stage's files under a hidden name, then give it its own."""
    hidden = folder.with_name(f".{folder.name}.taken")
    shutil.rmtree(hidden, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, hidden, copy_function=_link, ignore=shutil.ignore_patterns(*_SCRATCH))
    if folder.exists():
        # Begun by this run itself, and stopped before it was done.
        old = folder.with_name(f".{folder.name}.begun")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        shutil.rmtree(old, ignore_errors=True)
    hidden.rename(folder)


def _link(source: str, target: str) -> None:
    """One file under two names, since neither is ever changed in place; a copy where that cannot be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
