"""What every group keeps."""

from __future__ import annotations

from ..registry import Registry
from .base import Budget

registry: Registry[Budget] = Registry("budget", Budget, "prunekit.budgets")
register = registry.register

__all__ = ["Budget", "register", "registry"]
