"""The teacher of a stage, live or remembered on disk."""

from __future__ import annotations

import logging
from typing import Literal

from accelerate import PartialState

from ... import console
from ...distill import CachedTeacher, LiveTeacher, Teacher, fingerprint
from ...distill.cache import RESERVE, cache_size, free_bytes
from ..base import StageContext
from .fit import Fitter

logger = logging.getLogger(__name__)
Cache = Literal["auto", "on", "off"]


def teacher_of(context: StageContext, fitter: Fitter, role: str, cache: Cache) -> Teacher:
    """The model of a role as a teacher on the training examples.

    Args:
        context: of the stage.
        fitter: of the stage.
        role: e.g. ``"assistant"``.
        cache: ``"auto"`` caches its answers if they fit on the disk, ``"on"`` insists, ``"off"`` does not.

    Raises:
        RunError: ``"on"``, and there is no room.
    """
    model = context.load(role)
    live = LiveTeacher(model)
    if cache == "off":
        return live
    state = PartialState()
    folder, task = context.cache_folder, context.task
    lengths = task.lengths("train")
    there = folder / fingerprint(model, task.train)[:24]
    nbytes = cache_size(model, task.train, lengths, fitter.collate)
    if not there.is_dir():
        free = free_bytes(folder)
        if cache == "auto" and nbytes + RESERVE > free:
            logger.info(
                "the %s runs on every batch: its answers would take %.1f GiB, and %.1f GiB are free",
                role, nbytes / 2**30, free / 2**30,
            )  # fmt: skip
            return live
        logger.info("caching the %s's answers: %.2f GiB in %s", role, nbytes / 2**30, folder)
    # One process writes; the others find it complete.
    with state.main_process_first(), console.progress(f"caching the {role}", len(lengths)) as bar:
        cached = CachedTeacher.build(
            model,
            task.train,
            lengths,
            fitter.collate,
            folder,
            batch_size=context.training.eval_batch_size,
            advance=bar.advance,
        )
    return cached
