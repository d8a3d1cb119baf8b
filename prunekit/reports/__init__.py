"""Counting, evaluation of exits, and the written report."""

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
    "evaluate_exits",
]
