"""No pooler."""

from __future__ import annotations

from . import register
from .base import ExitHead


@register("linear")
class LinearHead(ExitHead):
    """Tanh, dropout, linear: no pooler, the fewest parameters (COST-EFF, PABEE)."""
