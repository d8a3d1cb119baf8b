"""How far towards the target each pruning step goes."""

from __future__ import annotations

from ..registry import Registry
from .base import Scheduler

registry: Registry[Scheduler] = Registry("scheduler", Scheduler, "prunekit.schedulers")
register = registry.register

__all__ = ["Scheduler", "register", "registry"]
