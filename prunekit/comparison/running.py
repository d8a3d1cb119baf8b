"""Checking a comparison, and training what it lacks."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

from .. import console
from ..errors import RecipeError, RunError
from ..planning import located, plan
from ..recipes import ComparedRun, Recipe, naming_system
from ..runs import Run, check_result, damage, is_done, recipe_of
from ..runs.checking import MODEL, OUTPUTS, REPORT
from ..runs.records import DONE, Record, read_record
from .claims import Claims
from .helpers import Helpers
from .planned import epochs_of, warn_of_unequal_effort
from .results import Finished
from .worker import Worker, folders_to_train

logger = logging.getLogger(__name__)


def finished(runs: Iterable[ComparedRun]) -> bool:
    """Whether all runs of a comparison are, and what they were chosen from."""
    return not any(map(_lacks, runs))


def reopen(runs: Iterable[ComparedRun], stages: bool = True) -> None:
    """Take finished runs that are damaged for unfinished: training repairs them.

    Args:
        runs: of a comparison, whose own run the caller holds.
        stages: look at all that every stage wrote; else at the results alone.

    Raises:
        RunError: a run's recipe cannot be read.
    """
    from accelerate import PartialState

    folders = [folder for run in runs for folder in folders_to_train([run]) if is_done(folder)]
    for folder in folders if console.is_main_process() else ():
        if (why := _damage(folder, stages)) is not None:
            logger.debug("%s is not whole any more: %s", folder, why)
            (folder / DONE).unlink()
    PartialState().wait_for_everyone()


def _damage(folder: Path, stages: bool) -> str | None:
    """What is wrong in a finished run, in words."""
    names = [f"{n}-{key}" for n, key in enumerate(recipe_of(folder).stages, 1)] if stages else []
    try:
        read_record(folder / DONE, Record, "")
        if not stages:
            check_result(folder, MODEL, REPORT, OUTPUTS)
    except RunError as error:
        return error.message
    return damage(folder, names)


def _lacks(run: ComparedRun) -> bool:
    return not all(map(is_done, folders_to_train([run])))


def check(runs: Sequence[ComparedRun]) -> None:
    """Plan every run that is not finished, and each setting of a grid: what is wrong is found at once.

    The examples of every task but the first, which training begins with, are read once.

    Raises:
        PrunekitError: naming the place in the recipe, and the system; of the data, their file.
    """
    from ..data import label_names_of_model, load_task

    first = {(run.system, run.task): run.seed for run in reversed(runs)}
    several = len({run.task for run in runs}) > 1
    lacking = {run.task for run in runs if _lacks(run)}
    epochs = []
    for run in runs:
        # Seeds differ in nothing that a plan looks at; the others are held against the subject.
        looked_at = run.task in lacking if run.subject else _lacks(run)
        if not looked_at or run.seed != first[run.system, run.task]:
            continue
        with nullcontext() if run.subject else naming_system(run.system, run.task if several else None):
            epochs += [(run, epochs_of(plan(candidate.recipe))) for candidate in run.candidates]
    warn_of_unequal_effort(epochs)
    later = {
        run.task: run.candidates[0].recipe
        for run in reversed(runs)
        if run.task in lacking and run.task != runs[0].task
    }
    for recipe in later.values():
        with located(recipe):
            load_task(recipe.data, recipe.seed, label_names_of_model(recipe.model))
    for task in sorted(lacking):
        _check_labels([run.candidates[0].recipe for run in runs if run.task == task])


def _check_labels(recipes: Sequence[Recipe]) -> None:
    """Refuse recipes on one task that begin with models whose own order of its classes differs.

    Their outputs could not be compared: the same label would have two numbers.
    """
    from ..data import label_names_of_model, load_task

    first = recipes[0]
    if first.data.label_names is not None:
        return
    models = {recipe.model.model_dump_json(): recipe for recipe in recipes}
    names = {tuple(label_names_of_model(recipe.model) or ()): recipe for recipe in models.values()}
    if len(names) == 1:
        return
    orders = {
        tuple(load_task(first.data, first.seed, of_model or None).label_names): recipe.model.name
        for of_model, recipe in names.items()
    }
    if len(orders) > 1:
        said = "; ".join(f"{model}: {', '.join(order)}" for order, model in orders.items())
        raise RecipeError(
            f"the models that are compared number the labels of {first.data.task} differently: {said}",
            "say in which order all of them do: data.label_names=[...]",
        )


def train(asked: Sequence[tuple[Run, Sequence[ComparedRun]]], jobs: int = 1) -> list[list[Finished]]:
    """Train what is not trained yet of one comparison, or several whose stages may be taken over.

    What a teacher answered is kept for the other runs of the same comparison, task and seed.

    Args:
        asked: the run of a recipe that asks for a comparison, held by the caller, and all that is compared,
            as :func:`~prunekit.recipes.expand` gives it.
        jobs: processes that train side by side, this one among them: each a run of its own, with its share of
            the processor's threads, or all of them for a stage that all runs begin with.

    Returns:
        The runs of every comparison.

    Raises:
        PrunekitError: of a stage, or a run that is there and was made with other settings. What was done
            before it stays. Also where ``jobs`` and a distributed launch are asked for at once.
    """
    import torch

    held = [own for own, _ in asked]
    every = {own.folder: runs for own, runs in asked}
    lacking = sum(not is_done(folder) for runs in every.values() for folder in folders_to_train(runs))
    claims = Claims.of(held[0].folder)
    try:
        if min(jobs, lacking) <= 1:
            made = Worker(every, held=held).finish()
        else:
            worker = Worker(every, held=held, claims=claims, threads=torch.get_num_threads())
            with Helpers(every, claims, min(jobs, lacking) - 1) as helpers:
                for own in held:
                    own.describe()
                made = worker.finish(meanwhile=helpers.check)
    finally:
        claims.remove()
    return [[made[run.folder] for run in runs] for _, runs in asked]
