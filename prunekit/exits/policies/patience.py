"""Leave when consecutive exits agree."""

from __future__ import annotations

import torch
from torch import Tensor

from . import register
from .base import ExitPolicy


@register("patience")
class Patience(ExitPolicy):
    """Leave when ``patience`` exits in a row repeat the label of the exit before (PABEE).

    A counter starts at 0 at the first exit, grows by one when an exit's label equals that of the exit
    before, and returns to 0 when it does not; an example leaves when the counter reaches ``patience``,
    so ``patience + 1`` exits agree (Zhou et al., 2020, "BERT Loses Patience", section 3.2).

    Args:
        patience: at least 1.
    """

    def __init__(self, patience: int = 2) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1, not {patience}")
        self.patience = patience

    def leaves(self, history: Tensor, exit_index: int) -> Tensor:
        labels = history.argmax(dim=-1)
        if exit_index < self.patience:
            return torch.zeros(labels.shape[1], dtype=torch.bool, device=history.device)
        return (labels[-self.patience - 1 :] == labels[-1]).all(dim=0)
