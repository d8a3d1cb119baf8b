"""Whether prunekit understands a family: its adapter, or what its structure shows, against the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import AutoModel, PretrainedConfig, PreTrainedModel

from ..errors import UnsupportedModelError, first_line
from . import cutting, running, saving
from .cases import ArchitectureReport, Case, quietly

CHECKS: dict[str, Callable[[Case], None]] = {
    "layers": running.layers,
    "rows": running.rows,
    "cut": cutting.cut,
    "gradients": cutting.gradients,
    "saving": saving.saving,
    "costs": cutting.costs,
    "exits": running.exits,
    "onnx": saving.onnx,
    "generate": cutting.generate,
}


def check_architecture(
    model: PretrainedConfig | PreTrainedModel,
    inputs: Mapping[str, Tensor] | None = None,
    *,
    auto: Any = AutoModel,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
) -> ArchitectureReport:
    """Hold what prunekit knows of a family against the family's own forward pass.

    ========== =============================================================================================
    layers     the layers one by one give what the whole forward gives, whichever side is padded
    rows       rows of a batch can go on alone
    cut        removing units is hiding them: heads, neurons, rank; halves, one unit, uneven, twice
    gradients  what was cut learns as it would have, had the rest been hidden
    saving     a cut model is read back by its class, to the same bits
    costs      multiply-adds and parameters are those that tracing counts, before and after a cut
    exits      an example leaves at the same exit, with the same answer, alone and in a batch; also read back
    onnx       the exported model with exits gives the same answers
    generate   the same tokens with and without a cache, before and after a cut
    ========== =============================================================================================

    What does not apply is in the report with the reason. Compute is in float64 where the model has it.

    Args:
        model: a configuration, of which a model is made (keep it tiny: hidden size 32, two layers), or a
            model. That is copied and not changed. Weights are drawn anew: what is checked is the layout.
        inputs: keywords of the model's forward, two rows or more; padding on the right is made by the checks.
            Default: random ones, by what the class takes.
        auto: the class, or auto class, that makes a model of a configuration.
        only: names of the checks to make; default: all.
        skip: names of checks to leave out.

    Returns:
        What was checked, and what was not, and why; it prints as a table.

    Raises:
        AssertionError: something differs. The message has every difference: the check, where, how far, and
            what to look at.
        UnsupportedModelError: the family is not understood at all.
        ValueError: ``only`` or ``skip`` name no check, or the model gives no tensor of numbers.
    """
    unknown = [name for name in (*only, *skip) if name not in CHECKS]
    if unknown:
        raise ValueError(f"no check is called {unknown[0]!r}: there are {', '.join(CHECKS)}")
    with quietly():
        case = Case.of(model, inputs, auto)
        for name, check in CHECKS.items():
            case.check = name
            if name in skip or (only and name not in only):
                case.skipped("", "not asked for")
                continue
            try:
                check(case)
            except UnsupportedModelError as error:
                case.skipped("", error.message)
            except Exception as error:  # whatever a model raises
                case.failed("", f"{type(error).__name__}: {first_line(error)}", "call the model by hand")
    report = ArchitectureReport(type(case.model).__name__, case.adapter, tuple(case.lines))
    if report.failed:
        raise AssertionError(report.problems())
    return report
