"""What a comparison is made from: one run of one system on one task with one seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..outputs import ExitOutputs
    from ..schema import ModelFigures, SystemReport


@dataclass(frozen=True)
class SystemRun:
    """One run, as its own report tells of it.

    Args:
        system: unique key of the system, the same in all its runs.
        label: what tables and figures call it.
        task, seed: a system has at most one run of each pair.
        report: sizes, and the evaluation on the reported split with its chosen policy and, where there is
            one, the validation by which curves pick their policies.
        test: what the exits said about the reported examples, those of ``report.evaluation``.
        validation: the same for ``report.validation``.
        dense: the dense model the run's own report is set against. The subject's counts for all systems.
        backbone: where the weights come from, in words.
        steps, seconds: optimizer steps and wall time, shared stages included; default: the report's.
        tried: settings trained to find this one's.
        run: the folder.
        note: of the task, e.g. how many examples were trained on.
        settings: its recipe, resolved.
    """

    system: str
    label: str
    task: str
    seed: int
    report: SystemReport
    test: ExitOutputs
    dense: ModelFigures
    backbone: str = ""
    steps: int | None = None
    seconds: float | None = None
    tried: int = 1
    run: str = ""
    note: str = ""
    validation: ExitOutputs | None = None
    settings: dict[str, Any] = field(default_factory=dict)
