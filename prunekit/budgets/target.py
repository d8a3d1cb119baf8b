"""A number of parameters or FLOPs, solved for sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from torch import Tensor, nn

from ..arguments import one_of, whole
from ..costs import CostModel
from ..errors import BudgetError
from ..groups import Group
from . import register
from .base import Budget, by_granularity
from .ranking import NORMALIZE, Ladder, Normalize, Rung, removal_order, uniform_order

_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)\s*([xX]|[kKMGBT]?)\s*")
# Of tokens: more than any model takes, so that a slip of the pen is refused.
LONGEST = 10_000_000
_SCALE = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}


@register("target")
class Target(Budget):
    """A cost to reach, e.g. ``parameters: 8x`` or ``flops: 1.2G``, solved for the sizes of all groups.

    Exactly one of the three costs is given: ``"8x"`` (so many times less than the model as it came to the
    pruner), or an amount, as a number or with k, M, G (or B), T behind it. It is reached from below, as
    nearly as single units allow: no unit more would fit.

    An embedding in two factors costs multiply-adds, and just below the full rank more parameters than in
    one. It is split where that saves some of what the target counts, so never for multiply-adds or FLOPs;
    one that came in two factors can lose ranks for any target.

    ``distribution="uniform"`` keeps the same share of every group, rounded up in some layers and down in
    others: the largest one that fits, then single units while they fit. (A smaller target gives no group
    more, but for these last single units.) ``"global"`` ranks all units of all layers and granularities
    together, by their share of their group's importance for each unit of cost, and removes the cheapest
    first: Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference" (2017),
    rank across layers after normalising each, with the cost as a regulariser.

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
        ((self.measure, value),) = chosen.items()
        self.amount, self.times = parse_amount(self.measure, value)
        self.distribution = one_of(
            distribution, "target.distribution", ("uniform", "global"), error=BudgetError
        )
        self.normalize = cast("Normalize", one_of(normalize, "target.normalize", NORMALIZE, BudgetError))
        self.minimum = _minimum(minimum)
        self.sequence_length = whole(
            sequence_length, "target.sequence_length", least=1, most=LONGEST, error=BudgetError
        )
        self.example_inputs = example_inputs
        if example_inputs is not None and not _holds_tensor(example_inputs):
            raise BudgetError(
                f"target.example_inputs: {example_inputs!r} holds no tensor",
                "leave it out for transformers; for other models give the arguments of a forward call, in "
                "Python",
            )

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
        if fraction <= 0:
            return {g.name: g.size for g in groups}
        # As it is said at the end, without rounding.
        budget = goal if fraction >= 1 else start - (start - goal) * fraction
        ladders = [self._ladder(costs, g) for g in groups]
        if self.distribution == "uniform":
            order = uniform_order(ladders)
        else:
            order = removal_order(ladders, scores, self.normalize)
        return self._fill(costs, {ladder.group.name: ladder.sizes[0] for ladder in ladders}, order, budget)

    def _fill(
        self, costs: CostModel, low: Mapping[str, int], order: Sequence[Rung], budget: float
    ) -> dict[str, int]:
        """Climb from the smallest sizes, in order, while the cost fits: first a prefix, then rung by rung."""
        fits, beyond = 0, len(order) + 1
        while beyond - fits > 1:
            middle = (fits + beyond) // 2
            if self._cost(costs, {**low, **dict(order[:middle])}) <= budget:
                fits = middle
            else:
                beyond = middle
        sizes = {**low, **dict(order[:fits])}
        full: set[str] = set()
        for name, size in order[fits:]:
            if name in full:
                continue
            grown = {**sizes, name: size}
            if self._cost(costs, grown) <= budget:
                sizes = grown
            else:
                full.add(name)
        return sizes

    def _ladder(self, costs: CostModel, group: Group) -> Ladder:
        """The sizes a group may end with, from its least, as it is now."""
        low = min(self._least(group), group.size)
        top = group.size if group.whole != group.size else self._split(costs, group)
        if top < low:
            return Ladder(group, [group.size], [])
        sizes, prices = list(range(low, top + 1)), []
        at_top = self._cost(costs, {group.name: top})
        if top > low:
            unit = (at_top - self._cost(costs, {group.name: low})) / (top - low)
            prices = [max(unit, 1.0)] * (top - low)
        if top < group.size:
            sizes.append(group.size)
            prices.append(max(self._cost(costs, {}) - at_top, 1.0))
        return Ladder(group, sizes, prices)

    def _split(self, costs: CostModel, group: Group) -> int:
        """The largest size below the present one that costs less, of a group that is whole; 0: none does."""
        whole_cost = self._cost(costs, {})
        fits, beyond = 0, group.size
        while beyond - fits > 1:
            middle = (fits + beyond) // 2
            if self._cost(costs, {group.name: middle}) < whole_cost:
                fits = middle
            else:
                beyond = middle
        return fits

    def _goal(self, costs: CostModel, groups: Sequence[Group]) -> tuple[float, float]:
        """Cost of the initial model and the target; ``BudgetError`` if it is out of reach."""
        start = self._cost(costs, {g.name: g.initial_size for g in groups})
        least = self._cost(costs, {g.name: self._ladder(costs, g).sizes[0] for g in groups})
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


def _minimum(given: Any) -> int | dict[str, int]:
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return {
            str(name): whole(number, f"target.minimum.{name}", least=1, error=BudgetError)
            for name, number in given.items()
        }
    return whole(given, "target.minimum", least=1, error=BudgetError)


def _holds_tensor(inputs: Any) -> bool:
    """Whether these can be a forward call's arguments: a tensor, or some of them with one among them."""
    if isinstance(inputs, Tensor):
        return True
    if isinstance(inputs, Mapping):
        return any(isinstance(value, Tensor) for value in inputs.values())
    return isinstance(inputs, list | tuple) and any(isinstance(value, Tensor) for value in inputs)


def _readable(number: float) -> str:
    for unit, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= scale:
            return f"{number / scale:.4g}{unit}"
    return f"{number:.0f}"
