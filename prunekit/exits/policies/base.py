"""The contract of an exit policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats, -sum p ln p, of ``softmax(logits)`` over the last dimension; 0 ln 0 is 0.

    From log-probabilities, so that a certain prediction gives 0 and not NaN.
    """
    logs = torch.log_softmax(logits.float(), dim=-1)
    return -torch.special.xlogy(logs.exp(), logs.exp()).sum(dim=-1)


class ExitPolicy(ABC):
    """Decides, exit by exit, which examples leave. It reads logits alone."""

    @abstractmethod
    def leaves(self, history: Tensor, exit_index: int) -> Tensor:
        """Who leaves at exit ``exit_index`` (0-based): bool ``[B]``.

        Args:
            history: logits of the exits passed so far, this one included, ``[exit_index + 1, B, C]``.
            exit_index: position of the exit. Nobody is asked at the last exit: there all leave.
        """

    def exits(self, logits: Tensor) -> Tensor:
        """The exit each example takes, int64 ``[N]``, from all exits' logits ``[E, N, C]``."""
        count, size = logits.shape[:2]
        taken = torch.full((size,), count - 1, dtype=torch.int64, device=logits.device)
        waiting = torch.ones(size, dtype=torch.bool, device=logits.device)
        for index in range(count - 1):
            leaving = waiting & self.leaves(logits[: index + 1], index)
            taken[leaving] = index
            waiting &= ~leaving
        return taken


def threshold_at(threshold: float | Sequence[float], exit_index: int) -> float:
    """The threshold of one exit, from one for all or one per exit."""
    if isinstance(threshold, (int, float)):
        return float(threshold)
    return float(threshold[exit_index])
