"""Score, choose, slim: one object around granularities, a scorer, a budget and a scheduler."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import PreTrainedModel

from .arguments import whole
from .budgets import Budget
from .budgets import registry as budgets
from .budgets.base import check_scores
from .costs import CostModel
from .errors import BudgetError, CheckpointError, PrunekitError, UnsupportedModelError
from .granularities import Granularity
from .granularities import registry as granularities
from .groups import Group, check_groups, overlaps
from .optimizers import Replacements, as_list, remember
from .schedulers import Scheduler
from .schedulers import registry as schedulers
from .scorers import Scorer
from .scorers import registry as scorers
from .scorers.base import Loss, checked
from .sizes import record
from .step_plan import Plan, PlannedStep, by_kind
from .undo import undone_on_failure
from .wrappers import prunable

Spec = str | Mapping[str, Any]


class Pruner:
    """Slims a model towards a budget, in one step or several, with your own training in between.

    Each part is a registered name, a mapping ``{"name": ..., argument: value}``, or an object.

    After every :meth:`step` the model has new, smaller parameters. Give :meth:`step` the optimizer, which
    then goes on with them, or make a new one: one that holds the old ones trains nothing, and is warned of.

    Args:
        model: slimmed in place.
        granularities: what can be removed.
        scorer: what units are worth.
        budget: what is kept in the end; checked here, before any compute.
        scheduler: how far each step goes.
        steps: number of steps to the budget.
        state: a :meth:`state_dict` to go on from; ``model`` is the slimmed model of that time.

    Attributes:
        granularities: as objects, in the order given.
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
        >>> optimizer = torch.optim.AdamW(model.parameters())
        >>> while not pruner.done:
        ...     loss(model, (inputs, labels)).backward()
        ...     optimizer.step()
        ...     optimizer.zero_grad()
        ...     scores = pruner.score([(inputs, labels)], loss=loss)
        ...     kept = pruner.step(optimizer=optimizer)  # which goes on with what is left
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
        self.model = model = prunable(model)
        self.scorer: Scorer = scorers.build(scorer)
        self.budget: Budget = budgets.build(budget)
        self.scheduler: Scheduler = schedulers.build(scheduler)
        self.steps = whole(steps, "steps", least=1)
        self.steps_done = 0
        self.granularities, self.groups = all_groups(model, granularities)
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

    def step(self, optimizer: Optimizer | Iterable[Optimizer] | None = None) -> dict[str, Tensor]:
        """Slim the model by one step of the schedule, wholly or not at all.

        Scorers that need no data are asked here if :meth:`score` was not called. Whatever is raised, an
        interrupt too: model, groups, scores and optimizers are then as they were.

        Args:
            optimizer: one, or several, that train the model. They go on with the new parameters: these
                stand where the old ones stood, in the same parameter groups, with the old ones' state (e.g.
                momenta) at the positions that were kept. Parameters that are computed anew, as the factors of
                an embedding are, begin without state. The objects stay, so learning-rate schedulers do too.

        Returns:
            The positions that were kept, among the units there were before: name -> int64, ascending.

        Raises:
            PrunekitError: all steps were taken, or :meth:`score` was not called since the last one.
            BudgetError: a score is NaN or infinite; it names group and unit.

        Warns:
            UserWarning: state of an optimizer that cannot be cut, and begins anew.
        """
        if self.done:
            raise PrunekitError(f"all {self.steps} steps are done", "make a new Pruner to go on")
        optimizers = as_list(optimizer)
        with undone_on_failure(self, *optimizers):
            kept, gone = self._step(optimizers)
        remember(gone)
        return kept

    def _step(self, optimizers: Sequence[Optimizer]) -> tuple[dict[str, Tensor], list[nn.Parameter]]:
        if not self.scores:
            self._score_without_data()
        check_scores(self.groups, self.scores)
        fraction = self.scheduler.fraction(self.steps_done + 1, self.steps)
        kept = self.budget.keep(self.model, self.groups, self.scores, fraction)
        replacements = Replacements(self.model)
        for group in self.groups:
            with replacements.watching(group, kept[group.name]) if optimizers else nullcontext():
                group.keep(kept[group.name])
        replacements.carry(optimizers)
        self.steps_done += 1
        self.scores = {}
        if isinstance(self.model, PreTrainedModel):
            self._record(self.model)
        return kept, replacements.gone

    def plan(self, sequence_length: int = 128, example_inputs: Any = None) -> Plan:
        """What the remaining steps will leave; nothing is changed.

        Sizes follow from the budget alone, unless it ranks units of different groups together (``target``
        with ``distribution="global"``). It then needs scores: those of the last :meth:`score`, or of a
        scorer that needs no data. Sizes are ``None`` where there are none. On the way to a ``target``, sizes
        may turn out a unit different, since each step starts from those before.

        Args:
            sequence_length: tokens that multiply-adds are counted for, of a transformer.
            example_inputs: arguments of one forward call, for other models (default: those of ``channels``);
                without any their multiply-adds are not counted.

        Returns:
            A sequence of :class:`~prunekit.step_plan.PlannedStep`, the model now first; it prints as a table.
        """
        if example_inputs is None:
            example_inputs = next(
                (g.example_inputs for g in self.groups if hasattr(g, "example_inputs")), None
            )
        try:
            costs, counted = CostModel(self.model, self.groups, sequence_length, example_inputs), True
        except UnsupportedModelError:
            costs, counted = CostModel(self.model, self.groups, macs=False), False
        notes = {} if counted else {"multiply-adds are not known: give plan() example_inputs": None}
        sizes, rows = {g.name: g.size for g in self.groups}, []
        for step in range(self.steps_done, self.steps + 1):
            fraction = self.scheduler.fraction(step, self.steps) if step else 0.0
            if step > self.steps_done:
                try:
                    found, note = self._sizes(fraction)
                except BudgetError as error:
                    found, note = None, error.message
                if note:
                    notes[note] = None
                if found is None:
                    rows.append(PlannedStep(step, fraction))
                    continue
                sizes = {name: min(size, found[name]) for name, size in sizes.items()}
            cost = costs.total(sizes)
            rows.append(PlannedStep(step, fraction, sizes, cost.parameters, cost.macs if counted else None))
        excluded = {n: why for part in self.granularities for n, why in getattr(part, "excluded", {}).items()}
        return Plan(tuple(rows), {g.name: g.granularity for g in self.groups}, excluded, tuple(notes))

    @staticmethod
    def _record(model: PreTrainedModel) -> None:
        """Have every way of saving the model write its sizes."""
        try:
            record(model)
        except CheckpointError as error:
            warnings.warn(
                f"what save_pretrained writes of this model cannot be read back: {error.message}",
                stacklevel=4,
            )

    def _sizes(self, fraction: float) -> tuple[dict[str, int], str]:
        """Sizes at a fraction of the way, and what to say of them."""
        try:
            return self.budget.sizes(self.model, self.groups, fraction), ""
        except BudgetError:
            scores = self.scores
            if not scores and not self.scorer.needs_data:
                scores = self.scorer.score(self.model, self.groups)
            if not scores:
                raise
        sizes = self.budget.sizes(self.model, self.groups, fraction, scores)
        return sizes, "sizes are by present scores: each step is scored anew, and may rank otherwise"

    def __repr__(self) -> str:
        parts = f"{_described(self.scorer)}, {_described(self.budget)}, {_described(self.scheduler)}"
        done = f"{self.steps_done} of {self.steps} steps done, {self.fraction:.0%} of the way"
        return f"Pruner({type(self.model).__name__}, {parts}): {done}\n{by_kind(self.groups)}"

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


def all_groups(
    model: nn.Module, specs: Sequence[Spec | Granularity] | Spec | Granularity
) -> tuple[list[Granularity], list[Group]]:
    """Granularities, made of what names them, and all groups they find in a model.

    Raises:
        PrunekitError: there is none, or two groups have one name.
    """
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
    return built, groups


def _described(part: object) -> str:
    """A part in short: its class, and those of its settings that are short."""
    settings = {k: v for k, v in vars(part).items() if not k.startswith("_") and v is not None}
    words = [f"{k}={v!r}" for k, v in settings.items() if isinstance(v, str | int | float | list | dict)]
    return f"{type(part).__name__}({', '.join(word for word in words if len(word) <= 80)})"


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
