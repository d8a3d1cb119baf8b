"""Leave when the exit is certain enough that it is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from . import register
from .base import SHARES, ThresholdPolicy


@register("learned")
class Learned(ThresholdPolicy):
    """Leave at the first exit whose learned certainty exceeds a threshold (BERxiT).

    The certainty, 0 to 1, is that of a layer trained to tell whether the exit's prediction is right, as the
    stage ``learn_to_exit`` does (Xin et al., "BERxiT: Early Exiting for BERT with Better Fine-Tuning and
    Extension to Regression", EACL 2021, section 4).

    Args:
        threshold: one for all exits, or one per exit. 1 sends every example through all layers.
    """

    needs_certainty: ClassVar[bool] = True

    def __init__(self, threshold: float | Sequence[float] = 0.9) -> None:
        super().__init__(threshold, "learned")

    def leaves(self, history: Tensor, exit_index: int, certainty: Tensor | None = None) -> Tensor:
        assert certainty is not None
        return certainty[-1].float() > self.at(exit_index)

    @classmethod
    def sweep(cls, exits: int, classes: int) -> list[dict[str, Any]]:
        return [{"threshold": round(1 - share, 4)} for share in SHARES]
