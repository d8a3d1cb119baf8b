"""Much at first, then ever less."""

from __future__ import annotations

from . import register
from .base import Scheduler


@register("cubic")
class Cubic(Scheduler):
    """Much at first, then ever less: 1 - (1 - t/T)^3 (Zhu and Gupta, "To prune, or not to prune", 2017)."""

    def fraction(self, step: int, steps: int) -> float:
        """``1 - (1 - step / steps) ** 3``."""
        return 1.0 - (1.0 - self.progress(step, steps)) ** 3
