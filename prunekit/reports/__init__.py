"""Counting, evaluation of exits, and the written report."""

from .counting import Counts, count
from .evaluation import (
    Evaluation,
    ExitCosts,
    ExitOutputs,
    choose_policy,
    evaluate_exits,
)
from .schema import (
    LayerSizes,
    ModelFigures,
    PartCost,
    RunReport,
    StageRecord,
    SystemReport,
)

__all__ = [
    "Counts",
    "Evaluation",
    "ExitCosts",
    "ExitOutputs",
    "LayerSizes",
    "ModelFigures",
    "PartCost",
    "RunReport",
    "StageRecord",
    "SystemReport",
    "choose_policy",
    "count",
    "evaluate_exits",
]
