"""The contract of an exit policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...arguments import number
from ...errors import RecipeError

_THRESHOLDS = "a threshold is a number, or a list with one for each exit but the last"
# Of the way from where nobody leaves early to where everybody leaves at once: even steps, finer where
# predictions are sure.
SHARES = (0.0, 0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.075, *(i / 40 for i in range(4, 41)))


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats, -sum p ln p, of ``softmax(logits)`` over the last dimension; 0 ln 0 is 0.

    From log-probabilities, so that a certain prediction gives 0 and not NaN.
    """
    logs = torch.log_softmax(logits.float(), dim=-1)
    return -torch.special.xlogy(logs.exp(), logs.exp()).sum(dim=-1)


class ExitPolicy(ABC):
    """Decides, exit by exit, which examples leave. It reads logits, and certainty where it says so.

    Attributes:
        needs_certainty: it reads how sure the exits are that they are right, as a model with
            ``config.exit_certainty`` says; :meth:`leaves` then gets it as a third argument.
    """

    needs_certainty: ClassVar[bool] = False

    @abstractmethod
    def leaves(self, history: Tensor, exit_index: int) -> Tensor:
        """Who leaves at exit ``exit_index`` (0-based): bool ``[B]``.

        A policy that needs certainty is called with a third argument: that of the exits passed so far, 0 to
        1, ``[exit_index + 1, B]``.

        Args:
            history: logits of the exits passed so far, this one included, ``[exit_index + 1, B, C]``.
            exit_index: position of the exit. Nobody is asked at the last exit: there all leave.
        """

    @classmethod
    def sweep(cls, exits: int, classes: int) -> list[dict[str, Any]]:
        """Arguments to try the policy with, from the slowest to the fastest; by default its own defaults.

        Args:
            exits: the model has so many, E.
            classes: C.
        """
        return [{}]

    def decide(self, history: Tensor, exit_index: int, certainty: Tensor | None = None) -> Tensor:
        """:meth:`leaves`, called with what the policy reads: bool ``[B]``.

        An example whose logits at this exit are not finite stays, whatever the policy says: such an answer
        is none.

        Args:
            history: logits ``[exit_index + 1, B, C]``.
            exit_index: position of the exit.
            certainty: ``[exit_index + 1, B]``; may be given to any policy.

        Raises:
            ValueError: the policy needs certainty, and there is none.
        """
        answered = history[-1].isfinite().all(dim=-1)
        if not self.needs_certainty:
            return self.leaves(history, exit_index) & answered
        if certainty is None:
            raise ValueError(
                f"{type(self).__name__} needs exits that say how sure they are: train them with the stage "
                "learn_to_exit, or call add_exit_certainty"
            )
        leaving: Tensor = self.leaves(history, exit_index, certainty)  # type: ignore[call-arg]
        return leaving & answered

    def check(self, exits: int) -> None:  # noqa: B027 - by default any number will do
        """Raise ``RecipeError`` if the arguments do not fit a model of so many exits."""

    def exits(self, logits: Tensor, certainty: Tensor | None = None) -> Tensor:
        """The exit each example takes, int64 ``[N]``.

        Args:
            logits: of all exits, ``[E, N, C]``.
            certainty: of all exits, ``[E, N]``; needed where ``needs_certainty`` is true.
        """
        count, size = logits.shape[:2]
        taken = torch.full((size,), count - 1, dtype=torch.int64, device=logits.device)
        waiting = torch.ones(size, dtype=torch.bool, device=logits.device)
        for index in range(count - 1):
            passed = None if certainty is None else certainty[: index + 1]
            leaving = waiting & self.decide(logits[: index + 1], index, passed)
            taken[leaving] = index
            waiting &= ~leaving
        return taken


class ThresholdPolicy(ExitPolicy):
    """A policy that compares a number of every exit with a threshold: one for all exits, or one per exit.

    Args:
        threshold: finite numbers; in a list that of the last exit, where all leave, may be left out.
        name: the policy's, for messages.

    Raises:
        RecipeError: something else, or an empty list.
    """

    def __init__(self, threshold: float | Sequence[float], name: str) -> None:
        self._place = f"{name}.threshold"
        self.threshold: float | list[float]
        if isinstance(threshold, list | tuple):
            self.threshold = [number(t, f"{self._place}[{i}]") for i, t in enumerate(threshold)]
            if not threshold:
                raise RecipeError(f"{self._place}: the list is empty", _THRESHOLDS)
        else:
            self.threshold = number(threshold, self._place)

    def at(self, exit_index: int) -> float:
        """The threshold of an exit.

        Raises:
            RecipeError: the list is too short.
        """
        if not isinstance(self.threshold, list):
            return self.threshold
        if exit_index >= len(self.threshold):
            raise RecipeError(
                f"{self._place}: the list has {len(self.threshold)} thresholds, none for exit "
                f"{exit_index + 1}",
                _THRESHOLDS,
            )
        return self.threshold[exit_index]

    def check(self, exits: int) -> None:
        if isinstance(self.threshold, list) and len(self.threshold) not in (exits - 1, exits):
            raise RecipeError(
                f"{self._place}: the list has {len(self.threshold)} thresholds, but the model {exits} exits",
                _THRESHOLDS,
            )
