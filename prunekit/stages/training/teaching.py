"""The teacher of a stage, live or remembered on disk."""

from __future__ import annotations

import logging
import shutil
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import nn

from ... import console
from ...data import AugmentationConfig, Examples, augmented
from ...distill import (
    CachedTeacher,
    LiveTeacher,
    Teacher,
    cache_folder,
    cache_size,
    fingerprint,
    writing_alone,
)
from ...distill.cache import RESERVE, free_bytes
from ...distill.teachers import computing as computing_in
from ...errors import RunError
from ..base import StageContext, derive_seed
from .fit import Fitter

if TYPE_CHECKING:
    from ..distillation import Taught

logger = logging.getLogger(__name__)


def examples_for(
    context: StageContext, role: str, augmentation: AugmentationConfig | None
) -> Examples | None:
    """The training examples and copies of them, where they are asked for; else ``None``.

    Equal settings make equal copies in every stage of a run, so that the teacher answers them once.

    Args:
        context: of the stage.
        role: of the teacher, whose word embedding says what may stand for what.
        augmentation: of the stage.
    """
    if augmentation is None:
        return None
    logger.info("making %d copies of every training example", augmentation.copies)
    words = context.load(role).backbone.get_input_embeddings()
    with torch.no_grad():
        embedding = words(torch.arange(len(context.tokenizer), device=context.device()))
    return augmented(
        context.task,
        context.tokenizer,
        embedding,
        augmentation,
        max_length=context.training.max_length,
        seed=derive_seed(context.recipe.seed, "augmentation"),
    )


def live_teacher(model: nn.Module, fitter: Fitter) -> LiveTeacher:
    """A teacher that is asked for every batch; it computes in what it would be trained in itself.

    Args:
        model: multi-exit.
        fitter: of the stage.
    """
    return LiveTeacher(model, partial(computing_in, fitter.device, fitter.autocast_of(model)))


def _keeps_answers(context: StageContext, config: Taught, folder: Path, there: Path, nbytes: int) -> bool:
    """Whether a teacher's answers are kept, in ``there``, with room made for them where they are not yet.

    ``cache: auto`` is decided once in a run, before anything depends on it: kept answers and those of a
    teacher that runs on every batch differ by rounding.

    Raises:
        RunError: they were decided to be kept, and there is no room any more.
    """
    computing, key = context.computing, context.key
    decided = True if config.cache == "on" else None if computing is None else computing.caches(key)
    if decided is False:
        return False
    # What was decided must fit; what is to be decided must leave room for checkpoints too.
    needed = nbytes if decided and config.cache == "auto" else nbytes + RESERVE
    fits = there.is_dir()
    if not fits:
        if needed > free_bytes(folder):
            # Other answers, which are asked for again where they are needed.
            shutil.rmtree(folder, ignore_errors=True)
        fits = needed <= free_bytes(folder)
    free = free_bytes(folder) / 2**30
    if decided is None:
        if computing is not None:
            computing.decide_cache(key, fits)
        if not fits:
            logger.info(
                "the %s runs on every batch: its answers would take %.1f GiB, and %.1f GiB are free",
                config.teacher, nbytes / 2**30, free,
            )  # fmt: skip
        return fits
    if not fits and config.cache == "auto":
        raise RunError(
            f"{key} began with the {config.teacher}'s answers on the disk, and goes on so, to end with the "
            f"same weights: they take {nbytes / 2**30:.2f} GiB in {folder}, and {free:.2f} GiB are free",
            f"make room, {needed / 2**30 - free:.2f} GiB at least, and give the same command again; or start "
            "anew with --fresh",
        )
    return True


def teacher_of(context: StageContext, fitter: Fitter, config: Taught) -> Teacher:
    """The teacher of a stage on the examples that a fitter trains on.

    Cached or not it computes in what it would be trained in itself.

    Args:
        context: of the stage.
        fitter: of the stage.
        config: of the stage. Where its ``cache`` is ``"auto"`` the answers are cached if they fit on the
            disk when the stage first asks; ``"on"`` insists, ``"off"`` does not cache.

    Raises:
        RunError: they are to be cached, and there is no room; or hidden states too large for
            ``cache_precision``.
    """
    role, precision = config.teacher, config.cache_precision
    model = context.load(role)
    live = live_teacher(model, fitter)
    if config.cache == "off":
        return live
    autocast = fitter.autocast_of(model)
    folder, rows, lengths = context.cache_folder, fitter.examples.rows, fitter.examples.lengths
    there = cache_folder(folder, fingerprint(model, rows), precision, autocast)
    nbytes = cache_size(model, rows, lengths, fitter.collate, precision)
    state = PartialState()
    # Runs of a comparison that are trained side by side share the folder.
    with writing_alone(folder) if state.is_main_process else nullcontext():
        # The main process decides for all: the disk may look otherwise to the others.
        keeps = [state.is_main_process and _keeps_answers(context, config, folder, there, nbytes)]
        if not broadcast_object_list(keeps)[0]:
            return live
        if not there.is_dir():
            logger.info("caching the %s's answers: %.2f GiB in %s", role, nbytes / 2**30, folder)
        # One process writes; the others find it complete.
        with state.main_process_first(), console.progress(f"caching the {role}", len(lengths)) as bar:
            return CachedTeacher.build(
                model,
                rows,
                lengths,
                fitter.collate,
                folder,
                precision=precision,
                autocast=autocast,
                batch_size=context.training.eval_batch_size,
                reserve=RESERVE if config.cache == "on" else 0,
                advance=bar.advance,
            )
