"""What every unit is worth."""

from __future__ import annotations

from ..registry import Registry
from .base import Scorer

registry: Registry[Scorer] = Registry("scorer", Scorer, "prunekit.scorers")
register = registry.register

__all__ = ["Scorer", "register", "registry"]
