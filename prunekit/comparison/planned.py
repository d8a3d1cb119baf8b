"""What a comparison will train, worked out on shapes alone."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from ..data import EncodedTask
from ..planning import Plan, plan
from ..recipes import ComparedRun, Recipe, naming_system
from .sharing import prefix_digests

logger = logging.getLogger(__name__)

Read = Callable[[Recipe], tuple[EncodedTask | None, int | None]]


@dataclass(frozen=True)
class PlannedRun:
    """A run of a comparison, or a trial of its grid.

    Attributes:
        place: which one, in words.
        plan: of its recipe.
        shared: its first stages that a run before it has.
        trained: the stages that are left to it and train something.
        steps: optimizer steps of its own; ``None`` where the examples were not read.
        epochs: passes over the training examples, of the shared stages too.
    """

    place: str
    plan: Plan
    shared: list[str]
    trained: list[str]
    steps: int | None
    epochs: float


def epochs_of(planned: Plan) -> float:
    """Passes over the training examples that a run's stages make in all."""
    return sum(work.epochs * work.times for stage in planned.stages for work in stage.works)


def warn_of_unequal_effort(epochs: Iterable[tuple[ComparedRun, float]]) -> None:
    """Say once which systems are trained for another number of epochs than the first one of their task.

    Args:
        epochs: what each run, or each setting of its grid, is trained for, the subject first. Seeds differ in
            nothing that a plan looks at: the first of a system counts.
    """
    subject: dict[str, float] = {}
    told: set[tuple[str, str]] = set()
    for run, own in epochs:
        theirs = subject.setdefault(run.task, own)
        if (run.system, run.task) not in told and not math.isclose(own, theirs):
            told.add((run.system, run.task))
            logger.warning(
                "%s is trained for %g epochs in all, what it is set against for %g: not the same effort",
                run.place,
                own,
                theirs,
            )


def plan_comparison(runs: Sequence[ComparedRun], read: Read) -> list[PlannedRun]:
    """Plan all runs in the order in which they are trained.

    With a grid, a run takes over all that its best trial trained; of another seed it is taken to be the first
    candidate, whose steps may differ from those of the one that is kept. Systems that are trained for another
    number of epochs than the subject are warned of.

    Args:
        runs: as :func:`~prunekit.recipes.expand` gives them.
        read: gives a recipe's examples where they are at hand, and the size of its vocabulary.

    Raises:
        PrunekitError: naming the place in the recipe, and the system.
    """
    examples: dict[str, tuple[EncodedTask | None, int | None]] = {}
    made: set[str] = set()
    planned, epochs = [], []
    for run in runs:
        with nullcontext() if run.subject else naming_system(run.system, None):
            if run.task not in examples:
                examples[run.task] = read(run.candidates[0].recipe)
            own = [
                _planned(recipe, place, plan(recipe, *examples[run.task]), made)
                for recipe, place in _recipes(run)
            ]
        planned += own
        # The run itself, planned as its first setting, comes last: others are held against that.
        epochs += [(run, one.epochs) for one in reversed(own)]
    warn_of_unequal_effort(epochs)
    return planned


def _recipes(run: ComparedRun) -> Iterator[tuple[Recipe, str]]:
    for number, candidate in enumerate(run.candidates, 1):
        if candidate.trial is not None:
            yield candidate.trial, f"{run.place}, setting {number} of {len(run.candidates)}"
    yield run.candidates[0].recipe, run.place


def _planned(recipe: Recipe, place: str, plan: Plan, made: set[str]) -> PlannedRun:
    digests = prefix_digests(recipe)
    shared = next((n for n, digest in enumerate(digests) if digest not in made), len(digests))
    made.update(digests)
    own = [stage for stage in plan.stages[shared:] if stage.works]
    steps = [plan.steps(work) for stage in own for work in stage.works]
    total = None if None in steps else sum(step for step in steps if step is not None)
    trained = [stage.key for stage in own]
    return PlannedRun(place, plan, recipe.stages[:shared], trained, total, epochs_of(plan))
