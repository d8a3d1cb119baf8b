"""When an example may leave: exit policies."""

from __future__ import annotations

from ...registry import Registry
from .base import ExitPolicy, entropy

registry: Registry[ExitPolicy] = Registry("exit policy", ExitPolicy, "prunekit.exits.policies")
register = registry.register

__all__ = ["ExitPolicy", "entropy", "register", "registry"]
