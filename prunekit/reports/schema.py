"""What a report is made of: filled by the stages, written by :func:`prunekit.reports.write_report`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..errors import RunError
from ..files import plain
from .comparison.schema import Comparison
from .points import Evaluation

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class StageRecord:
    """One stage as it went.

    Args:
        name: as in the recipe, e.g. ``"slenderize"``.
        seconds: wall time.
        steps: optimizer steps, where the stage trains.
        metrics: what it measured at its end, name -> number.
    """

    name: str
    seconds: float
    steps: int | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class LayerSizes:
    """What a layer has, and had before it was slimmed; ``layer`` is 1-based."""

    layer: int
    heads: int
    heads_before: int
    neurons: int
    neurons_before: int


@dataclass(frozen=True)
class PartCost:
    """One part of a model: parameters, and multiply-adds for one example."""

    part: str
    parameters: int
    macs: int


@dataclass(frozen=True)
class ModelFigures:
    """Size and static cost of a model (``prunekit.reports.model_figures`` computes it).

    Args:
        macs: multiply-adds of one example of ``sequence_length`` tokens through every layer and exit.
        embedding_parameters: of ``parameters``, what word, position and segment embeddings hold.
        parts: embeddings, attention, FFN, norms, exits.
        by_layer: the same for every layer, without its exit.
        by_exit: parameters of each exit, and multiply-adds up to and including it.
    """

    name: str
    parameters: int
    embedding_parameters: int
    macs: int
    sequence_length: int
    embedding_rank: int | None = None
    layers: list[LayerSizes] = field(default_factory=list)
    parts: list[PartCost] = field(default_factory=list)
    by_layer: list[PartCost] = field(default_factory=list)
    by_exit: list[PartCost] = field(default_factory=list)

    @property
    def flops(self) -> int:
        """Two for every multiply-add."""
        return 2 * self.macs


@dataclass(frozen=True)
class SystemReport:
    """One compressed model: the run's own, or one row of a comparison.

    Args:
        evaluation: on the reported split, with ``chosen`` set to the policy picked on ``validation``.
        validation: on the held-out part of the training data.
        max_drop_points: what the policy's choice was allowed to lose of the main score on ``validation``:
            0.01 is one point.
        max_drop: the same in reports of earlier versions, as a share of that score.
        guarantee: what was shown of the chosen policy, see :class:`~prunekit.calibration.Guarantee`.
        seconds, steps: training time and optimizer steps in all.
    """

    name: str
    figures: ModelFigures
    evaluation: Evaluation
    validation: Evaluation | None = None
    max_drop_points: float | None = None
    max_drop: float | None = None
    guarantee: dict[str, Any] | None = None
    note: str = ""
    seconds: float | None = None
    steps: int | None = None


@dataclass(frozen=True)
class RunReport:
    """Everything a report says.

    Args:
        name: of the run.
        task: name of the task; ``task_note`` is printed wherever its figures are.
        label_names: of the classes, by label.
        dense: the dense single-exit model that all is set against.
        systems: the compressed model, or several to be compared; the first is the report's subject.
        recipe: resolved, as it was applied.
        command: that gives this report again, with ``later_commands`` behind it, which compared more.
        versions: package -> version.
        machine: e.g. ``{"processor": ..., "threads": 2, "memory": ..., "accelerator": ...}``.
        seconds: wall time of the whole run.
        comparison: with other systems, where the run was compared.
    """

    name: str
    task: str
    label_names: list[str]
    dense: ModelFigures
    systems: list[SystemReport]
    stages: list[StageRecord] = field(default_factory=list)
    recipe: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    later_commands: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    seconds: float | None = None
    task_note: str = ""
    notes: list[str] = field(default_factory=list)
    license: str | None = None
    comparison: Comparison | None = None
    created: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    schema_version: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        value: dict[str, Any] = plain(asdict(self))
        return value

    @classmethod
    def from_dict(cls, value: dict[str, Any], source: str = "report.json") -> RunReport:
        """What :meth:`to_dict` gave, checked.

        Raises:
            RunError: it is not a report, or of another version.
        """
        version = value.get("schema_version") if isinstance(value, dict) else None
        if version != SCHEMA_VERSION:
            raise RunError(
                f"{source}: schema_version is {version!r}, expected {SCHEMA_VERSION}",
                "read it with that version of prunekit, or apply the recipe again with --fresh",
            )
        try:
            return TypeAdapter(cls).validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise RunError(
                f"{source}: {where}: {first['msg']}", "apply the recipe again with --fresh"
            ) from error
