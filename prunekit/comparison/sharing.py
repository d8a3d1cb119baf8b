"""Stages that several runs of a comparison begin with are trained once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ..errors import PrunekitError
from ..files import plain
from ..recipes import Recipe
from ..runs import Run, is_done, recipe_of
from ..runs.checking import find_stage
from ..runs.data import asked_for, data_of
from ..runs.records import DATA, DONE, DamagedRun, StageDone, read_record
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
        self._folders: list[Path] = []
        for recipe in recipes:
            run = Run(recipe)
            self._folders.append(run.folder)
            for number, (key, digest) in enumerate(
                zip(recipe.stages, prefix_digests(recipe), strict=True), 1
            ):
                self._makers.setdefault(digest, []).append(run.stage_folder(number, key))

    def take_over(self, recipe: Recipe, run: Run) -> list[str]:
        """Give a run the first stages that it lacks and another run has; the keys of those taken over.

        A stage appears in the run's folder whole, its ``done.json`` with it. Killed at any moment and called
        again, it goes on.
        """
        self._give_data(recipe, run)
        taken: list[str] = []
        models: dict[str, str] = {}
        for number, (key, digest) in enumerate(zip(recipe.stages, prefix_digests(recipe), strict=True), 1):
            folder = run.stage_folder(number, key)
            done = find_stage(run.folder, folder, models).done
            if done is None:
                source, done = self._whole_source(folder, digest, number, models)
                if source is None or done is None:
                    break
                _copy_metrics(source.parents[1], run.folder, key)
                _take(source, folder)
                logger.info("%s is that of %s", key, source.parents[1])
                taken.append(key)
            models.update({role: done.digest_of(role) for role in done.models})
        return taken

    def _whole_source(
        self, folder: Path, digest: str, number: int, models: Mapping[str, str]
    ) -> tuple[Path | None, StageDone | None]:
        """Another folder that holds what a stage of a run makes, of the same data and models, and its record.

        What is damaged there, or of other data, the run makes itself. Where neither says what it began with
        (it is of an earlier version), they are taken to be alike.
        """
        data = data_of(folder.parents[1])
        for source in self._sources(folder, digest, number):
            home = source.parents[1]
            if data_of(home) == data:
                done = find_stage(home, source, models).done
                if done is not None:
                    return source, done
        return None, None

    def _give_data(self, recipe: Recipe, run: Run) -> None:
        """Have a run that has not begun begin with the data that the others began with: else it is refused.

        What is compared learns from the same examples, though a file may have changed since.
        """
        if (run.folder / DATA).is_file():
            return
        asked = asked_for(recipe)
        for folder in self._folders:
            record = data_of(folder)
            if record is not None and record.asked == asked:
                record.write(run.folder / DATA)
                return

    def makers_of_next(self, recipe: Recipe) -> list[Path]:
        """Folders of the other runs that may be at the first stage that a run lacks and cannot take over."""
        for number, (key, digest) in enumerate(zip(recipe.stages, prefix_digests(recipe), strict=True), 1):
            own = Run(recipe).stage_folder(number, key)
            there = is_done(own) and _was_made(own, digest, number)
            if not there and not any(self._sources(own, digest, number)):
                return [made.parents[1] for made in self._makers.get(digest, []) if made != own]
        return []

    def _sources(self, folder: Path, digest: str, number: int) -> Iterator[Path]:
        """Other folders that hold what a stage of a run makes, as their records say."""
        for made in self._makers.get(digest, []):
            if made != folder and _can_be_taken(made) and _was_made(made, digest, number):
                yield made


def _can_be_taken(stage: Path) -> bool:
    """Whether the stage says that it is done, and that all the models it made lie in its folder."""
    if not is_done(stage):
        return False
    try:
        record = read_record(stage / DONE, StageDone, "")
    except DamagedRun:
        return False  # its run makes it again
    inside = f"stages/{stage.name}/"
    return bool(record.models) and all(path.startswith(inside) for path in record.models.values())


def _was_made(stage: Path, digest: str, number: int) -> bool:
    """Whether the stage was made so: a run with a grid may come to be made with any of its settings."""
    try:
        return prefix_digests(recipe_of(stage.parents[1]))[number - 1] == digest
    except PrunekitError:
        return False  # damaged, or of another version; opening that run says so


def _copy_metrics(source: Path, target: Path, key: str) -> None:
    """What was measured in a stage; a record that is there already is replaced by itself."""
    log = MetricsLog(target / "metrics.jsonl")
    log.compact()
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
