"""Leave when the most probable class is probable enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from . import register
from .base import SHARES, ThresholdPolicy


@register("confidence")
class Confidence(ThresholdPolicy):
    """Leave at the first exit whose largest class probability exceeds a threshold.

    Args:
        threshold: one for all exits, or one per exit. 1 sends every example through all layers.
    """

    def __init__(self, threshold: float | Sequence[float] = 0.9) -> None:
        super().__init__(threshold, "confidence")

    def leaves(self, history: Tensor, exit_index: int) -> Tensor:
        return history[-1].float().softmax(dim=-1).amax(dim=-1) > self.at(exit_index)

    @classmethod
    def sweep(cls, exits: int, classes: int) -> list[dict[str, Any]]:
        # Rounded up, or exactly 1/C, the last would keep back predictions that are all but even.
        least = 1 / classes
        return [
            {"threshold": round(least - 1e-4 if share == 1 else 1 - share * (1 - least), 4)}
            for share in SHARES
        ]
