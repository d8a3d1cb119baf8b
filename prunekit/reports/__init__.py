"""Counting, evaluation of exits, and the written report."""

from .build import read_report, write_report
from .card import model_card, write_card
from .counting import Counts, count
from .curve import curve_svg
from .evaluation import Evaluation, ExitCosts, ExitOutputs, choose_policy, evaluate_exits
from .figures import exit_costs, model_figures
from .schema import LayerSizes, ModelFigures, PartCost, RunReport, StageRecord, SystemReport
from .words import summary_sentence

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
    "curve_svg",
    "evaluate_exits",
    "exit_costs",
    "model_card",
    "model_figures",
    "read_report",
    "summary_sentence",
    "write_card",
    "write_report",
]
