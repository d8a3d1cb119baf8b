"""Leave when consecutive exits agree."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...arguments import number, whole
from . import register
from .base import ExitPolicy


@register("patience")
class Patience(ExitPolicy):
    """Leave when ``patience`` exits in a row repeat the label of the exit before (PABEE).

    A counter starts at 0 at the first exit, grows by one when an exit's label equals that of the exit
    before, and returns to 0 when it does not; an example leaves when the counter reaches ``patience``,
    so ``patience + 1`` exits agree (Zhou et al., 2020, "BERT Loses Patience", section 3.2). Of equal logits
    the first class is the label. With one output (regression) an exit agrees with the one before when they
    differ by less than ``margin``.

    Args:
        patience: at least 1.
        margin: of a regression's outputs, in their unit; above 0.
    """

    def __init__(self, patience: int = 2, margin: float | None = None) -> None:
        self.patience = whole(patience, "patience.patience", least=1)
        # With none above 0 nobody would ever leave.
        self.margin = None if margin is None else number(margin, "patience.margin", above=0)

    def leaves(self, history: Tensor, exit_index: int) -> Tensor:
        regression = history.shape[-1] == 1
        if regression and self.margin is None:
            raise ValueError("patience needs a margin where a model has one output, e.g. margin: 0.5")
        if exit_index < self.patience:
            return torch.zeros(history.shape[1], dtype=torch.bool, device=history.device)
        last = history[-self.patience - 1 :]
        # Of an exit that gave no number there is no label that another could repeat.
        answered = last.isfinite().all(dim=-1).all(dim=0)
        if regression:
            assert self.margin is not None
            return (last.float().diff(dim=0).abs() < self.margin).squeeze(-1).all(dim=0) & answered
        # Of equal values argmax takes the first.
        labels = last.argmax(dim=-1)
        return (labels == labels[-1]).all(dim=0) & answered

    @classmethod
    def sweep(cls, exits: int, classes: int) -> list[dict[str, Any]]:
        return [{"patience": patience} for patience in range(exits - 1, 0, -1)]
