"""What every part of a kind must do, and every family of models, checked: for tests of your own.

    from prunekit.testing import check_architecture, check_scorer

    def test_my_scorer():
        check_scorer(Mine())

    def test_my_family():
        check_architecture(MyConfig(num_hidden_layers=2, hidden_size=32))

Each check makes the small models it needs, and raises ``AssertionError`` naming the rule that is broken.
"""

from __future__ import annotations

from .cases import ArchitectureReport
from .families import CHECKS, check_architecture
from .parts import (
    Batch,
    check_budget,
    check_exit_head,
    check_exit_policy,
    check_granularity,
    check_loss,
    check_scheduler,
    check_scorer,
    small_batches,
    small_loss,
    small_model,
)

__all__ = [
    "CHECKS",
    "ArchitectureReport",
    "Batch",
    "check_architecture",
    "check_budget",
    "check_exit_head",
    "check_exit_policy",
    "check_granularity",
    "check_loss",
    "check_scheduler",
    "check_scorer",
    "small_batches",
    "small_loss",
    "small_model",
]
