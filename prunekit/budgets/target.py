"""A number of parameters or FLOPs, solved for sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from ..costs import CostModel
from ..errors import BudgetError
from ..groups import Group
from . import register
from .base import Budget, by_granularity
from .ranking import Normalize, Unit, removal_order, uniform_order

_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)\s*([xX]|[kKMGBT]?)\s*")
_SCALE = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}


@register("target")
class Target(Budget):
    """A cost to reach, e.g. ``parameters: 8x`` or ``flops: 1.2G``, solved for the sizes of all groups.

    Exactly one of the three costs is given: ``"8x"`` (so many times less than the initial model), or an
    amount, as a number or with k, M, G (or B), T behind it.

    ``distribution="uniform"`` keeps the same share of every group: the largest one that fits, then single
    units while they fit. ``"global"`` ranks all units of all layers and granularities together, by their
    share of their group's importance for each unit of cost, and removes the cheapest first: Molchanov et al.,
    "Pruning Convolutional Neural Networks for Resource Efficient Inference" (2017), rank across layers
    after normalising each, with the cost as a regulariser.

    On the way (``fraction`` below 1) the cost, not the sizes, is interpolated.

    Args:
        parameters, macs, flops: the target; FLOPs are twice the multiply-adds.
        distribution: ``"uniform"`` or ``"global"``.
        minimum: units that every group keeps, or granularity name -> units; a group with fewer keeps all it
            has. What is not named keeps 1; ranks, a sixteenth: each parameter of theirs is cheap to lose, and
            a ``"global"`` order would leave one.
        normalize: how ``"global"`` makes groups comparable: divide importance by the group's ``"sum"``,
            ``"mean"``, ``"l2"`` norm, or ``"none"``. With the sum, a group of few large units and one of
            many small ones weigh the same.
        sequence_length: tokens that multiply-adds are counted for.
        example_inputs: for models of no registered architecture, see :class:`~prunekit.costs.CostModel`;
            default: those of the groups, where they have some (``channels``).
    """

    def __init__(
        self,
        parameters: str | float | None = None,
        macs: str | float | None = None,
        flops: str | float | None = None,
        distribution: Literal["uniform", "global"] = "uniform",
        minimum: int | Mapping[str, int] | None = None,
        normalize: Normalize = "sum",
        sequence_length: int = 128,
        example_inputs: Any = None,
    ) -> None:
        given = {"parameters": parameters, "macs": macs, "flops": flops}
        chosen = {k: v for k, v in given.items() if v is not None}
        if len(chosen) != 1:
            raise BudgetError(
                f"the budget 'target' takes one of parameters, macs and flops, not {list(chosen) or 'none'}",
                "e.g. {name: target, parameters: 8x}",
            )
        if distribution not in ("uniform", "global"):
            raise BudgetError(f"target.distribution is 'uniform' or 'global', not {distribution!r}")
        if normalize not in ("sum", "mean", "l2", "none"):
            raise BudgetError(f"target.normalize is 'sum', 'mean', 'l2' or 'none', not {normalize!r}")
        ((self.measure, value),) = chosen.items()
        self.amount, self.times = parse_amount(self.measure, value)
        self.distribution, self.normalize = distribution, normalize
        self.minimum = {} if minimum is None else minimum
        for number in self.minimum.values() if isinstance(self.minimum, Mapping) else [self.minimum]:
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise BudgetError(f"target.minimum: {number!r} is not a whole number from 1 up")
        self.sequence_length, self.example_inputs = sequence_length, example_inputs

    def check(self, model: nn.Module, groups: Sequence[Group]) -> None:
        """Raise ``BudgetError`` if the target is outside of what the groups can reach."""
        if isinstance(self.minimum, Mapping):
            by_granularity(groups, list(self.minimum))
        self._goal(self._costs(model, groups), groups)

    def sizes(
        self,
        model: nn.Module,
        groups: Sequence[Group],
        fraction: float = 1.0,
        scores: Mapping[str, Tensor] | None = None,
    ) -> dict[str, int]:
        """As in :class:`Budget`; ``"global"`` reads ``scores``."""
        costs = self._costs(model, groups)
        start, goal = self._goal(costs, groups)
        budget = start - (start - goal) * fraction
        if fraction <= 0:
            return {g.name: g.size for g in groups}
        low = {g.name: min(self._least(g), g.size) for g in groups}
        if self.distribution == "uniform":
            order = uniform_order(groups, low)
        else:
            unit = {g.name: self._unit_cost(costs, g) for g in groups}
            order = removal_order(groups, low, unit, scores, self.normalize)
        return self._fill(costs, low, order, budget)

    def _fill(
        self, costs: CostModel, low: Mapping[str, int], order: Sequence[Unit], budget: float
    ) -> dict[str, int]:
        """Add units to the smallest sizes, in order, while the cost fits: first a prefix, then one by one."""
        fits, beyond = 0, len(order) + 1
        while beyond - fits > 1:
            middle = (fits + beyond) // 2
            if self._cost(costs, _with(low, order[:middle])) <= budget:
                fits = middle
            else:
                beyond = middle
        sizes = _with(low, order[:fits])
        full: set[str] = set()
        for name in order[fits:]:
            if name in full:
                continue
            grown = {**sizes, name: sizes[name] + 1}
            if self._cost(costs, grown) <= budget:
                sizes = grown
            else:
                full.add(name)
        return sizes

    def _goal(self, costs: CostModel, groups: Sequence[Group]) -> tuple[float, float]:
        """Cost of the initial model and the target; ``BudgetError`` if it is out of reach."""
        start = self._cost(costs, {g.name: g.initial_size for g in groups})
        least = self._cost(costs, {g.name: self._least(g) for g in groups})
        goal = start / self.amount if self.times else self.amount
        reach = (
            f"reachable: {_readable(least)} to {_readable(start)} {self.measure} "
            f"({start / least:.4g}x to 1x), with the given minimum"
        )
        asked = f"{self.amount:.6g}x" if self.times else _readable(goal)
        if goal > start:
            raise BudgetError(
                f"target.{self.measure}: {asked} is larger than the model, which has {_readable(start)}",
                reach,
            )
        if goal < least:
            raise BudgetError(f"target.{self.measure}: {asked} is less than these groups can reach", reach)
        return start, goal

    def _costs(self, model: nn.Module, groups: Sequence[Group]) -> CostModel:
        inputs = self.example_inputs
        if inputs is None:
            inputs = next((g.example_inputs for g in groups if hasattr(g, "example_inputs")), None)
        return CostModel(model, groups, sequence_length=self.sequence_length, example_inputs=inputs)

    def _cost(self, costs: CostModel, sizes: Mapping[str, int]) -> float:
        return float(getattr(costs.total(sizes), self.measure))

    def _unit_cost(self, costs: CostModel, group: Group) -> float:
        """What one unit of the group costs, averaged over its units at the present sizes of the others."""
        low = self._least(group)
        if group.size <= low:
            return 1.0
        saved = self._cost(costs, {}) - self._cost(costs, {group.name: low})
        return max(saved / (group.size - low), 1.0)

    def _least(self, group: Group) -> int:
        minimum, default = self.minimum, max(1, group.initial_size // 16) if group.ordered else 1
        least = minimum.get(group.granularity, default) if isinstance(minimum, Mapping) else minimum
        return min(least, group.initial_size)


def parse_amount(measure: str, value: str | float) -> tuple[float, bool]:
    """A target's number, and whether it is a factor ("8x") rather than an amount ("3.4M").

    Raises:
        BudgetError: neither.
    """
    match = _NUMBER.fullmatch(str(value)) if not isinstance(value, bool) else None
    if match is None or not 0 < float(match[1]) < math.inf:
        raise BudgetError(
            f"target.{measure}: {value!r} is neither an amount nor a factor",
            "a number above 0, with k, M, G or T behind it if you like, or a factor such as 8x",
        )
    number, unit = float(match[1]), match[2]
    if unit in ("x", "X"):
        return number, True
    return number * _SCALE[unit], False


def _with(low: Mapping[str, int], added: Sequence[Unit]) -> dict[str, int]:
    sizes = dict(low)
    for name in added:
        sizes[name] += 1
    return sizes


def _readable(number: float) -> str:
    for unit, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= scale:
            return f"{number / scale:.4g}{unit}"
    return f"{number:.0f}"
