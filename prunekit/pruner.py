"""Score, choose, slim: one object around granularities, a scorer, a budget and a scheduler."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from .arguments import whole
from .budgets import Budget
from .budgets import registry as budgets
from .budgets.base import check_scores
from .errors import CheckpointError, PrunekitError
from .granularities import Granularity
from .granularities import registry as granularities
from .groups import Group, check_groups, overlaps
from .schedulers import Scheduler
from .schedulers import registry as schedulers
from .scorers import Scorer
from .scorers import registry as scorers
from .scorers.base import Loss, checked

Spec = str | Mapping[str, Any]


class Pruner:
    """Slims a model towards a budget, in one step or several, with your own training in between.

    Each part is a registered name, a mapping ``{"name": ..., argument: value}``, or an object.

    After every :meth:`step` the model has new, smaller parameters: an optimizer made before it still holds
    the old ones and would train nothing, so make a new one.

    Args:
        model: slimmed in place.
        granularities: what can be removed.
        scorer: what units are worth.
        budget: what is kept in the end; checked here, before any compute.
        scheduler: how far each step goes.
        steps: number of steps to the budget.
        state: a :meth:`state_dict` to go on from; ``model`` is the slimmed model of that time.

    Attributes:
        groups: all groups of interchangeable units.
        scores: the last scores that still hold: name -> ``[group.size]``; empty after a step.
        steps_done: steps taken.

    Raises:
        BudgetError: the budget does not fit the model.
        UnsupportedModelError: a granularity does not know the model.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from prunekit.pruner import Pruner
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> inputs, labels = torch.randn(4, 8), torch.tensor([0, 1, 1, 0])
        >>> channels = {"name": "channels", "example_inputs": inputs}
        >>> pruner = Pruner(model, [channels], budget={"name": "ratio", "keep": 0.5}, steps=2)
        >>> def loss(model, batch):
        ...     return nn.functional.cross_entropy(model(batch[0]), batch[1])
        >>> while not pruner.done:
        ...     scores = pruner.score([(inputs, labels)], loss=loss)
        ...     kept = pruner.step()
        ...     optimizer = torch.optim.AdamW(model.parameters())  # new parameters, new optimizer
        >>> model
        Sequential(
          (0): Linear(in_features=8, out_features=8, bias=True)
          (1): ReLU()
          (2): Linear(in_features=8, out_features=2, bias=True)
        )
    """

    def __init__(
        self,
        model: nn.Module,
        granularities: Sequence[Spec | Granularity] | Spec | Granularity,
        scorer: Spec | Scorer = "taylor",
        *,
        budget: Spec | Budget,
        scheduler: Spec | Scheduler = "linear",
        steps: int = 1,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.scorer: Scorer = scorers.build(scorer)
        self.budget: Budget = budgets.build(budget)
        self.scheduler: Scheduler = schedulers.build(scheduler)
        self.steps = whole(steps, "steps", least=1)
        self.steps_done = 0
        self.groups = _all_groups(model, granularities)
        self.scores: dict[str, Tensor] = {}
        if state is not None:
            self.load_state_dict(state)
        else:
            self.budget.check(model, self.groups)

    @property
    def done(self) -> bool:
        """Whether all steps were taken."""
        return self.steps_done >= self.steps

    @property
    def fraction(self) -> float:
        """Fraction of the way to the budget that the model has come, in [0, 1]."""
        return self.scheduler.fraction(self.steps_done, self.steps) if self.steps_done else 0.0

    def score(self, batches: Iterable[Any] = (), loss: Loss | None = None) -> dict[str, Tensor]:
        """Importance of every unit, which the next :meth:`step` uses: name -> float32 ``[group.size]``.

        Args:
            batches: what ``loss`` takes, one after another; scorers that need no data take none.
            loss: ``loss(model, batch)`` gives a scalar, or one loss for every exit, ``[E]``.

        Raises:
            TrainingError: an importance that is NaN or infinite; it names the group.
        """
        scores = self.scorer.score(self.model, self.groups, batches, loss)
        self.scores = {name: checked(name, values) for name, values in scores.items()}
        return self.scores

    def step(self) -> dict[str, Tensor]:
        """Slim the model by one step of the schedule.

        Scorers that need no data are asked here if :meth:`score` was not called.

        Returns:
            The positions that were kept, among the units there were before: name -> int64, ascending.

        Raises:
            PrunekitError: all steps were taken, or :meth:`score` was not called since the last one.
            BudgetError: a score is NaN or infinite; it names group and unit.
        """
        if self.done:
            raise PrunekitError(f"all {self.steps} steps are done", "make a new Pruner to go on")
        if not self.scores:
            self._score_without_data()
        check_scores(self.groups, self.scores)
        fraction = self.scheduler.fraction(self.steps_done + 1, self.steps)
        kept = self.budget.keep(self.model, self.groups, self.scores, fraction)
        for group in self.groups:
            group.keep(kept[group.name])
        self.steps_done += 1
        self.scores = {}
        return kept

    def summary(self) -> dict[str, dict[str, Any]]:
        """Units of each group: name -> granularity, layer, initial and present size; fit for JSON."""
        return {
            g.name: {
                "granularity": g.granularity,
                "layer": g.layer,
                "initial_size": g.initial_size,
                "size": g.size,
            }
            for g in self.groups
        }

    def state_dict(self) -> dict[str, Any]:
        """Where the pruning is: plain numbers, fit for JSON. The model's weights are not in it."""
        return {
            "steps": self.steps,
            "steps_done": self.steps_done,
            "initial_sizes": {g.name: g.initial_size for g in self.groups},
            "whole": {g.name: g.whole for g in self.groups},
            "sizes": {g.name: g.size for g in self.groups},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken; the model must be the slimmed one of that time.

        Budgets that compare with the initial model ("8x") may refuse the slimmed one before its state is
        known: give the constructor ``state`` then.

        Raises:
            CheckpointError: the state is of other groups, sizes or steps.
        """
        missing = {"steps", "steps_done", "initial_sizes", "sizes"} - set(state)
        if missing:
            raise CheckpointError(f"the pruner's state lacks {', '.join(sorted(missing))}")
        sizes = {g.name: g.size for g in self.groups}
        if sizes != dict(state["sizes"]):
            names = [n for n in {**sizes, **state["sizes"]} if sizes.get(n) != state["sizes"].get(n)]
            raise CheckpointError(
                f"the pruner's state is of another model: {names[0]} has {sizes.get(names[0])} units here "
                f"and {state['sizes'].get(names[0])} there",
                "load the model that was saved together with the state, then make the Pruner",
            )
        if state["steps"] != self.steps:
            raise CheckpointError(
                f"the pruner's state is of {state['steps']} steps, but this one has {self.steps}"
            )
        # States of earlier versions do not say it: all embeddings were taken to have come as one matrix.
        whole = state.get("whole", {g.name: state["initial_sizes"][g.name] for g in self.groups if g.ordered})
        for group in self.groups:
            group.initial_size = state["initial_sizes"][group.name]
            group.whole = whole.get(group.name)
        self.steps_done = state["steps_done"]
        self.scores = {}
        self.budget.check(self.model, self.groups)

    def _score_without_data(self) -> None:
        needing = [g.name for g in self.groups if g.intrinsic_importance() is None]
        if self.scorer.needs_data and needing:
            raise PrunekitError(
                f"{needing[0]} has no scores, or they are of before the last step",
                "call score(batches, loss=...) before every step()",
            )
        self.score()


def _all_groups(model: nn.Module, specs: Sequence[Spec | Granularity] | Spec | Granularity) -> list[Group]:
    if isinstance(specs, str | Mapping | Granularity):
        specs = [specs]
    if not specs:
        raise PrunekitError("no granularity was given", "e.g. granularities=['heads', 'neurons']")
    built: list[Granularity] = [granularities.build(spec) for spec in specs]
    found = [(granularity, granularity.groups(model)) for granularity in built]
    firm = [group for granularity, own in found if not granularity.gives_way for group in own]
    for granularity, own in found:
        if granularity.gives_way:
            _leave_out(granularity, own, firm)
    groups = [group for _, own in found for group in own]
    names = [g.name for g in groups]
    for name in names:
        if names.count(name) > 1:
            raise PrunekitError(f"two groups are called {name}", "give each granularity once")
    check_groups(model, groups)
    return groups


def _leave_out(granularity: Granularity, own: list[Group], firm: Sequence[Group]) -> None:
    """Take from a granularity's groups, in place, those that own what others do."""
    for other, group, what in list(overlaps([*firm, *own])):
        if group in own and other in firm:
            own.remove(group)
            granularity.excluded[group.name] = f"{other.name} owns some of {what}"
    if not own:
        raise PrunekitError(
            f"{type(granularity).__name__} finds nothing that the other granularities do not own",
            "leave it out",
        )
