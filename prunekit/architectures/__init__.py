"""Where embeddings, layers, attention, FFN and head are in each model family."""

from __future__ import annotations

from ..registry import Registry
from .base import Architecture

registry: Registry[Architecture] = Registry("architecture", Architecture, "prunekit.architectures")
register = registry.register

__all__ = ["Architecture", "register", "registry"]
