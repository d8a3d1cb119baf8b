"""The same amount in every step."""

from __future__ import annotations

from . import register
from .base import Scheduler


@register("linear")
class Linear(Scheduler):
    """The same amount in every step: t / T (COST-EFF's schedule, section 3.2.3)."""

    def fraction(self, step: int, steps: int) -> float:
        """``step / steps``."""
        return self.progress(step, steps)
