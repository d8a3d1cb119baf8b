"""The fastest exit policy that is shown to lose little: Learn then Test, with fixed-sequence testing.

Policies are tested one after another, from the slowest to the fastest, each at the whole level
1 - confidence, until one cannot be shown to be safe (Angelopoulos et al., "Learn then Test", arXiv
2110.01052; for early exits Jazbec et al., "Fast yet Safe: Early-Exiting with Risk Control", arXiv
2405.20915). As the first unsafe policy of the order stops the test with probability ``confidence``, all that
were accepted before are safe at once with that probability, so that any of them may be taken. The order must
not depend on the losses: it is that of the thresholds, which stand before any data is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import RecipeError
from .bounds import Bound, p_values, stronger_bound

if TYPE_CHECKING:
    from ..reports import ExitOutputs

Policy = dict[str, Any]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tried:
    """One policy on the calibration examples.

    Attributes:
        drop: accuracy of all layers less its own.
        harmed, helped: examples whose right answer leaving early made wrong, and the reverse.
        cost: mean multiply-adds over those of all layers, at the examples' own lengths.
        p_value: of the hypothesis that it loses ``max_drop`` or more.
        safe: whether it was shown to lose less, it and all before it.
    """

    policy: Policy
    drop: float
    harmed: int
    helped: int
    cost: float
    p_value: float
    safe: bool

    @property
    def leaves_early(self) -> bool:
        """Whether some example left early; where none did, its mean cost is 1 but for rounding."""
        return self.cost < 1 - 1e-12


@dataclass(frozen=True)
class Calibration:
    """What calibrating found.

    Attributes:
        chosen: the cheapest of the safe policies by which some example left early; ``None``: there is none.
        tried: every policy, in the order of testing.
        accuracy: of all layers, on the calibration examples.
        max_drop, confidence: what was asked for.
    """

    chosen: Tried | None
    tried: list[Tried]
    accuracy: float
    examples: int
    max_drop: float
    confidence: float
    bound: Bound


def calibrate(
    outputs: ExitOutputs,
    policies: Sequence[Policy],
    macs: Integers,
    *,
    max_drop: float,
    confidence: float = 0.95,
    bound: Bound | Literal["auto"] = "auto",
    seed: int = 0,
) -> Calibration:
    """Choose the cheapest policy that loses at most ``max_drop`` points of accuracy against all layers.

    If the examples are a plain sample of what is to come (exchangeable with it) and neither the model nor the
    policies were made with their labels, then with probability ``confidence`` over that sample the mean drop
    on what is to come is at most ``max_drop``. It says nothing of one input, or of inputs of another kind.

    Args:
        outputs: what every exit says about the calibration examples.
        policies: specifications from the slowest to the fastest, fixed before the examples were looked at.
        macs: up to and including each exit for every example, ``[N, E]``.
        max_drop: share, e.g. 0.01 for one point.
        confidence: e.g. 0.95.
        bound: how p-values are computed; ``auto``: :func:`~prunekit.calibration.stronger_bound`.
        seed: of the order in which betting takes the examples: one that comes with the data, such as
            "negatives first", is no plain sample's.

    Raises:
        RecipeError: a policy does not fit the exits.
        ValueError: a share is not between 0 and 1.
    """
    taken = np.stack([_exits_taken(outputs, policy) for policy in policies])
    rows = np.arange(taken.shape[1])
    return choose(
        policies,
        harms(outputs, taken),
        macs[rows, taken] / macs[:, -1].mean(),
        accuracy=float((outputs.logits[-1].argmax(axis=1) == outputs.labels).mean()),
        max_drop=max_drop,
        confidence=confidence,
        bound=bound,
        seed=seed,
    )


def choose(
    policies: Sequence[Policy],
    losses: Integers,
    costs: npt.NDArray[np.float64],
    *,
    accuracy: float,
    max_drop: float,
    confidence: float,
    bound: Bound | Literal["auto"] = "auto",
    seed: int = 0,
) -> Calibration:
    """:func:`calibrate` from what every policy does to the examples.

    Args:
        losses: see :func:`harms`, ``[P, N]``.
        costs: multiply-adds spent, over the mean of all layers', ``[P, N]``.
        accuracy: of all layers.
    """
    for name, share in (("max_drop", max_drop), ("confidence", confidence)):
        if not 0 < share < 1:
            raise ValueError(f"{name} {share} is not between 0 and 1")
    examples = losses.shape[1]
    bound = stronger_bound(examples, max_drop, confidence) if bound == "auto" else bound
    order = np.random.default_rng(seed).permutation(examples)
    values = p_values(losses[:, order], max_drop, confidence, bound)
    safe = fixed_sequence(values, 1 - confidence)
    tried = [
        Tried(
            policy=policy,
            drop=float(loss.mean()),
            harmed=int((loss > 0).sum()),
            helped=int((loss < 0).sum()),
            cost=float(cost.mean()),
            p_value=float(value),
            safe=number < safe,
        )
        for number, (policy, loss, cost, value) in enumerate(
            zip(policies, losses, costs, values, strict=True)
        )
    ]
    return Calibration(
        # A policy by which nobody left saves nothing.
        chosen=min((t for t in tried if t.safe and t.leaves_early), key=lambda t: t.cost, default=None),
        tried=tried,
        accuracy=accuracy,
        examples=examples,
        max_drop=max_drop,
        confidence=confidence,
        bound=bound,
    )


def fixed_sequence(values: npt.NDArray[np.float64], level: float) -> int:
    """How many hypotheses are rejected when they are tested in order, each at ``level``, until one is not."""
    kept = np.flatnonzero(values > level)
    return int(kept[0]) if len(kept) else len(values)


def harms(outputs: ExitOutputs, taken: Integers) -> Integers:
    """1 where leaving early made a right answer wrong, -1 where a wrong one right, else 0: ``[P, N]``.

    Args:
        taken: index of the exit each example takes under each policy, ``[P, N]``.
    """
    right = (outputs.logits.argmax(axis=2) == outputs.labels).astype(np.int64)
    losses: Integers = right[-1] - right[taken, np.arange(taken.shape[1])]
    return losses


def _exits_taken(outputs: ExitOutputs, policy: Policy) -> Integers:
    from ..reports import exits_taken

    try:
        return exits_taken(outputs.logits, policy, outputs.certainty)
    except (IndexError, TypeError, ValueError) as error:
        raise RecipeError(
            f"the policy {policy} does not fit a model of {len(outputs.exit_layers)} exits: {error}"
        ) from error
