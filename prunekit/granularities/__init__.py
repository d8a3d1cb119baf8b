"""What can be removed: heads, neurons, embedding ranks, channels."""

from __future__ import annotations

from ..registry import Registry
from .base import Granularity

registry: Registry[Granularity] = Registry("granularity", Granularity, "prunekit.granularities")
register = registry.register

__all__ = ["Granularity", "register", "registry"]
