"""Leave when the prediction's entropy is low."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from . import register
from .base import SHARES, ThresholdPolicy, entropy


@register("entropy")
class Entropy(ThresholdPolicy):
    """Leave at the first exit whose prediction's entropy is below a threshold.

    Entropy is -sum p ln p in nats, between 0 and ln C (COST-EFF, section 3.3.1; DeeBERT).

    Args:
        threshold: one for all exits, or one per exit. 0 sends every example through all layers.
    """

    def __init__(self, threshold: float | Sequence[float] = 0.3) -> None:
        super().__init__(threshold, "entropy")

    def leaves(self, history: Tensor, exit_index: int) -> Tensor:
        return entropy(history[-1]) < self.at(exit_index)

    @classmethod
    def sweep(cls, exits: int, classes: int) -> list[dict[str, Any]]:
        # Rounded down, the last would keep back predictions that are all but even: theirs is ln C.
        most = math.log(classes)
        return [{"threshold": round(most + 1e-4 if share == 1 else share * most, 4)} for share in SHARES]
