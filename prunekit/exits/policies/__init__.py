"""When an example may leave: exit policies, and how recipes and reports write them down.

A policy's specification is its name with its arguments, ``{"name": "entropy", "threshold": 0.3}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...registry import Registry
from .base import ExitPolicy, entropy

registry: Registry[ExitPolicy] = Registry("exit policy", ExitPolicy, "prunekit.exits.policies")
register = registry.register

__all__ = ["ExitPolicy", "entropy", "policy_words", "register", "registry", "sweep_of", "sweeps_of"]


def sweeps_of(policies: Sequence[str | Mapping[str, Any]], exits: int, classes: int) -> list[dict[str, Any]]:
    """Specifications of several policies, in order: a name stands for its own sweep, a mapping for itself."""
    every = [sweep_of(p, exits, classes) if isinstance(p, str) else [dict(p)] for p in policies]
    return [policy for some in every for policy in some]


def sweep_of(policy: str, exits: int, classes: int) -> list[dict[str, Any]]:
    """Specifications to try a policy with, from the slowest to the fastest."""
    return [{"name": policy, **arguments} for arguments in registry.get(policy).sweep(exits, classes)]


def policy_words(policy: dict[str, Any] | None) -> str:
    """A specification in words, e.g. ``entropy 0.3``; ``None`` is ``all layers``."""
    if policy is None:
        return "all layers"
    settings = {key: value for key, value in policy.items() if key != "name"}
    if len(settings) == 1:
        return f"{policy['name']} {next(iter(settings.values()))}"
    return ", ".join([str(policy["name"]), *(f"{key} {value}" for key, value in settings.items())])
