"""Comparisons: training what a recipe's ``compare:`` asks for, and collecting it into one report."""

from __future__ import annotations

from .collecting import check_systems, collect, same_systems, write_comparison
from .planned import PlannedRun, plan_comparison
from .results import Finished
from .running import check, finished, reopen, train
from .sharing import Pool, prefix_digests

__all__ = [
    "Finished",
    "PlannedRun",
    "Pool",
    "check",
    "check_systems",
    "collect",
    "finished",
    "plan_comparison",
    "prefix_digests",
    "reopen",
    "same_systems",
    "train",
    "write_comparison",
]
