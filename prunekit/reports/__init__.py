"""Counting, evaluation of exits, and the written report."""

from .build import REPORT_FILES, read_report, write_report
from .card import model_card, with_guarantee, write_card
from .comparison.comparing import compare
from .comparison.pictures import layer_svg, score_flops_svg
from .comparison.runs import SystemRun
from .comparison.schema import Comparison
from .counting import Counts, count
from .curve import curve_svg
from .evaluation import choose_policy, evaluate_exits, exits_taken
from .figures import exit_costs, model_figures
from .outputs import ExitOutputs, read_outputs, save_outputs
from .points import Evaluation, ExitCosts, OperatingPoint
from .schema import LayerSizes, ModelFigures, PartCost, RunReport, StageRecord, SystemReport
from .words import summary_sentence

__all__ = [
    "REPORT_FILES",
    "Comparison",
    "Counts",
    "Evaluation",
    "ExitCosts",
    "ExitOutputs",
    "LayerSizes",
    "ModelFigures",
    "OperatingPoint",
    "PartCost",
    "RunReport",
    "StageRecord",
    "SystemReport",
    "SystemRun",
    "choose_policy",
    "compare",
    "count",
    "curve_svg",
    "evaluate_exits",
    "exit_costs",
    "exits_taken",
    "layer_svg",
    "model_card",
    "model_figures",
    "read_outputs",
    "read_report",
    "save_outputs",
    "score_flops_svg",
    "summary_sentence",
    "with_guarantee",
    "write_card",
    "write_report",
]
