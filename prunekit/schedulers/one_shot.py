"""Everything in the first step."""

from __future__ import annotations

from . import register
from .base import Scheduler


@register("one_shot")
class OneShot(Scheduler):
    """Everything in the first step; later steps only train."""

    def fraction(self, step: int, steps: int) -> float:
        """1 at every step."""
        return 1.0 if self.progress(step, steps) > 0 else 0.0
