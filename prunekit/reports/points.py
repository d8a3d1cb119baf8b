"""What an evaluation of exits says: its figures, policy by policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..exits.policies import policy_words
from .outputs import Integers

Policy = dict[str, Any]
# Scores that differ by less are the same, computed in another order.
ROUNDING = 1e-9


def share_kept(own: float, dense: float | None) -> float | None:
    """A score over the dense model's; ``None`` where a share means nothing.

    Scores may be 0 or negative, as Matthews' correlation is below chance: of such a dense score nothing can
    be kept, and a negative score is no part of a positive one.
    """
    return own / dense if dense is not None and dense > 0 and own >= 0 else None


@dataclass(frozen=True)
class ExitCosts:
    """Multiply-adds up to and including each exit, and of the dense model.

    Args:
        exits: at ``sequence_length`` tokens, int64 ``[E]``.
        exits_real: at each example's unpadded length, int64 ``[N, E]``.
        dense: of the dense single-exit model at ``sequence_length``.
        dense_real: of the dense model at each example's unpadded length, int64 ``[N]``.
    """

    exits: Integers
    exits_real: Integers
    dense: int
    dense_real: Integers
    sequence_length: int = 128


@dataclass(frozen=True)
class Subset:
    """Figures of a part of the examples under one policy."""

    examples: int
    scores: dict[str, float]
    mean_exit_layer: float
    macs: float
    macs_real: float
    speedup: float
    speedup_real: float


@dataclass(frozen=True)
class OperatingPoint:
    """What one exit policy gives.

    Attributes:
        policy: e.g. ``{"name": "entropy", "threshold": 0.3}``; ``None``: nobody leaves before the last exit.
        all: figures over all examples.
        short: over those shorter than the median unpadded length (the paper's simple examples, Table 3).
        by_difficulty: over those of each difficulty tag.
        exit_shares: share of the examples that leave at each exit, ``[E]``.
        kept: main score over the dense model's, where :func:`share_kept` says something.
    """

    policy: Policy | None
    all: Subset
    short: Subset | None
    by_difficulty: dict[str, Subset]
    exit_shares: list[float]
    kept: float | None

    @property
    def label(self) -> str:
        """The policy in words, e.g. ``entropy 0.3``."""
        return policy_words(self.policy)


@dataclass(frozen=True)
class EarlyError:
    """An example that left before the last exit with a wrong answer."""

    text: str
    label: int
    predicted: int
    confidence: float
    exit_layer: int
    last_exit_says: int
    length: int
    difficulty: str | None


@dataclass(frozen=True)
class DenseScores:
    """The dense single-exit model on the same examples."""

    scores: dict[str, float] | None
    short_scores: dict[str, float] | None
    macs: int
    macs_real: float


@dataclass(frozen=True)
class Evaluation:
    """A multi-exit model on one split, under every policy of a sweep.

    Attributes:
        metrics: names, the main one first.
        exit_scores: each exit used alone for all examples, ``[E]``.
        exit_macs: multiply-adds up to and including each exit at ``sequence_length``, ``[E]``.
        points: one for each policy, in the order given.
        all_layers: every example at the last exit, having paid for every exit on the way.
        chosen: the point of the policy that was chosen, elsewhere than on this split.
        early_errors: under the chosen policy, the surest first, at most 50 of ``early_error_count``.
    """

    split: str
    examples: int
    metrics: list[str]
    sequence_length: int
    median_length: float
    exit_layers: list[int]
    exit_scores: list[dict[str, float]]
    exit_macs: list[int]
    dense: DenseScores
    all_layers: OperatingPoint
    points: list[OperatingPoint]
    chosen: OperatingPoint | None = None
    early_errors: list[EarlyError] = field(default_factory=list)
    early_error_count: int = 0
