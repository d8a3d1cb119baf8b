"""What a comparison will train, worked out on shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from ..data import EncodedTask
from ..planning import Plan, plan
from ..recipes import ComparedRun, Recipe, naming_system
from .sharing import prefix_digests

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
    """

    place: str
    plan: Plan
    shared: list[str]
    trained: list[str]
    steps: int | None


def plan_comparison(runs: Sequence[ComparedRun], read: Read) -> list[PlannedRun]:
    """Plan all runs in the order in which they are trained.

    With a grid, a run takes over all that its best trial trained; of another seed it is taken to be the first
    candidate, whose steps may differ from those of the one that is kept.

    Args:
        runs: as :func:`~prunekit.recipes.expand` gives them.
        read: gives a recipe's examples where they are at hand, and the size of its vocabulary.

    Raises:
        PrunekitError: naming the place in the recipe, and the system.
    """
    examples: dict[str, tuple[EncodedTask | None, int | None]] = {}
    made: set[str] = set()
    planned = []
    for run in runs:
        with nullcontext() if run.subject else naming_system(run.system, None):
            if run.task not in examples:
                examples[run.task] = read(run.candidates[0].recipe)
            for recipe, place in _recipes(run):
                planned.append(_planned(recipe, place, plan(recipe, *examples[run.task]), made))
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
    return PlannedRun(place, plan, recipe.stages[:shared], [stage.key for stage in own], total)
