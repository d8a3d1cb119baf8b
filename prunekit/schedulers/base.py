"""The contract of a scheduler."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Scheduler(ABC):
    """Says which fraction of the way from the initial sizes to the target a step has come."""

    @abstractmethod
    def fraction(self, step: int, steps: int) -> float:
        """Fraction in [0, 1] after ``step`` of ``steps`` (1-based); never falls, and is 1.0 at the last.

        ``step`` 0 is the model as it came: 0.0.

        Raises:
            ValueError: ``step`` outside ``0..steps``, or ``steps`` below 1.
        """

    @staticmethod
    def progress(step: int, steps: int) -> float:
        """``step / steps``, checked."""
        if steps < 1 or not 0 <= step <= steps:
            raise ValueError(f"step {step} is outside 0..{steps}")
        return step / steps
