"""Running a recipe's stages one after another, from where an earlier process came to."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import console
from .base import StageContext
from .metrics import MetricsLog

if TYPE_CHECKING:
    from ..recipes import Recipe
    from ..runs import Run

logger = logging.getLogger(__name__)


def run_recipe(
    recipe: Recipe, run: Run, cache: Path | None = None, threads: Mapping[str, int] | None = None
) -> None:
    """Do all stages that are not done yet, in the run's folder.

    Args:
        recipe: of the run.
        run: held by the caller.
        cache: where teachers' answers are kept, for other runs too: it stays. Default: a folder in the run's,
            which is removed in the end.
        threads: of the processor, for single stages by their keys; the others have as many as there are now.

    Raises:
        PrunekitError: of a stage; what was done before it stays.
    """
    import torch

    from ..data import encode, load_task
    from ..distill import forget_answers
    from ..models import check_tokens, load_tokenizer, skeleton
    from ..runs.checking import find_stage
    from ..runs.computing import Computing
    from ..runs.data import settle_data
    from ..runs.records import DONE, StageDone, read_record

    _settle_torch(recipe)
    main = _is_main_process()
    if not main:
        console.setup(console.Verbosity.QUIET)
    metrics = MetricsLog(run.folder / "metrics.jsonl", writes=main)
    metrics.compact()
    task_data = load_task(recipe.data, recipe.seed, _label_names(recipe, run))
    logger.info(
        "%s: %d training, %d validation and %d test examples",
        task_data.name, len(task_data.train), len(task_data.validation), len(task_data.test),
    )  # fmt: skip
    tokenizer = load_tokenizer(recipe.model, _texts(task_data))
    task = encode(task_data, tokenizer, recipe.training.max_length)
    check_tokens(task, skeleton(recipe.model, len(tokenizer)), recipe.model.name)
    settle_data(run.folder, recipe, task, main)
    here = torch.get_num_threads()
    computing = Computing(run.folder, {key: (threads or {}).get(key, here) for key in recipe.stages}, main)
    _wait()
    models: dict[str, Path] = {}
    digests: dict[str, str] = {}
    own_cache = run.folder / "cache"
    # Every training run ends with a search for garbage; what the imports made, it need not look at.
    gc.collect()
    gc.freeze()
    for number, key in enumerate(recipe.stages, 1):
        folder = run.stage_folder(number, key)
        found = find_stage(run.folder, folder, digests)
        _wait()  # all have seen the same
        done = found.done
        if done is None:
            if found.why is not None:
                logger.warning("%s is made again: %s", key, found.why)
            context = StageContext(
                key, folder, run.folder, recipe, task, tokenizer, dict(models), metrics, cache or own_cache,
                computing, found, dict(digests),
            )  # fmt: skip
            with _threads(computing.threads(key)):
                _run_stage(context, recipe, folder / DONE)
            done = read_record(folder / DONE, StageDone, "apply the recipe again")
        if main:
            # What a stage that is done needed on its way. Not before: killed, it would begin anew.
            for scratch in ("parts", "work"):
                shutil.rmtree(folder / scratch, ignore_errors=True)
        models.update({role: run.folder / path for role, path in done.models.items()})
        digests.update({role: done.digest_of(role) for role in done.models})
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    if main and cache is None:
        forget_answers(own_cache)
    run.finish()


def _run_stage(context: StageContext, recipe: Recipe, done: Path) -> None:
    """Run one stage and, once all it made is on the disk, say so."""
    from accelerate import PartialState
    from transformers import set_seed

    from ..digests import digests_of
    from ..files import remove_leftovers
    from ..runs.records import StageDone

    state = PartialState()
    if state.is_main_process:
        context.folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(context.folder, [done.name], None)
        for half in (context.folder / "parts").glob(".*"):
            shutil.rmtree(half)
    state.wait_for_everyone()
    started = time.monotonic()
    before = dict(context.models)
    stage = recipe.stage_class(context.key)(recipe.config(context.key))
    with console.where(context.key):
        logger.info("begins")
        set_seed(context.seed() % 2**32)
        stage.run(context)
        seconds = time.monotonic() - started
        logger.info("done in %s", console.duration(seconds))
    context.metrics.log(context.key, "stage", seconds=seconds, **context.summary)
    context.metrics.compact()
    state.wait_for_everyone()
    made = {role: path for role, path in context.models.items() if before.get(role) != path}
    record = StageDone.model_validate(
        {
            **context.summary,
            "seconds": seconds,
            "models": {role: path.relative_to(context.run_folder).as_posix() for role, path in made.items()},
            "files": digests_of([*made.values(), *context.published], context.run_folder),
            "reads": {role: context.digests[role] for role in stage.needs if role in context.digests},
        }
    )
    if state.is_main_process:
        record.write(done)
    state.wait_for_everyone()


def _settle_torch(recipe: Recipe) -> None:
    """Threads, and algorithms that give the same bits again."""
    import torch
    from transformers.utils import logging as transformers_logging

    # Their bars are of no use beside ours: a model here loads in no time.
    transformers_logging.disable_progress_bar()
    if recipe.training.threads is not None:
        torch.set_num_threads(recipe.training.threads)
    if torch.cuda.is_available():
        # cuBLAS reads it when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Use so many of the processor's threads for a block of code."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _label_names(recipe: Recipe, run: Run) -> list[str] | None:
    """Names of the model's classes: of one that the run has made already, else of the one it begins with.

    A run that goes on numbers labels as it did, also where an earlier version began it.
    """
    from ..data import label_names_of_model
    from ..models import ModelConfig
    from ..runs.checking import find_stage

    first = find_stage(run.folder, run.stage_folder(1, recipe.stages[0]), {}).done
    for path in first.models.values() if first is not None else ():
        return label_names_of_model(ModelConfig(name=str(run.folder / path)))
    return label_names_of_model(recipe.model)


def _texts(task: Any) -> list[str]:
    """Training texts, for a tokenizer that is made from them."""
    texts = list(task.train["text"])
    return texts + list(task.train["text_pair"]) if task.is_pair else texts


def _wait() -> None:
    """For all processes that train together."""
    from accelerate import PartialState

    PartialState().wait_for_everyone()


def _is_main_process() -> bool:
    from accelerate import PartialState

    return bool(PartialState().is_main_process)
