"""A model to be checked, its inputs, and what was found."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import transformers
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from ..architectures import Architecture, architecture_of, backbone_of
from ..architectures.blocks import fit_experts
from ..architectures.structure import sample_inputs, tensors_of
from ..errors import UnsupportedModelError, first_line
from ..granularities import registry as granularities
from ..groups import Group
from ..text import table

TOKENS = 10
Inputs = dict[str, Tensor]
Side = Literal["no padding", "padding on the right", "padding on the left"]
SIDES: tuple[Side, ...] = ("no padding", "padding on the right", "padding on the left")
GRANULARITIES = ("heads", "neurons", "rank")


@dataclass(frozen=True)
class Line:
    """One condition: held, skipped with a reason, or failed."""

    check: str
    what: str
    result: Literal["holds", "skipped", "fails"]
    reason: str = ""


@dataclass(frozen=True, repr=False)
class ArchitectureReport:
    """What :func:`~prunekit.testing.check_architecture` found; prints as a table.

    Attributes:
        model: name of its class.
        adapter: the class that knows the family; ``"Structure"`` where no adapter names it.
        lines: every condition, in order.
    """

    model: str
    adapter: str
    lines: tuple[Line, ...]

    @property
    def held(self) -> list[str]:
        """Checks of which something was checked, and all of it holds."""
        bad = {line.check for line in self.failed}
        return list(dict.fromkeys(x.check for x in self.lines if x.result == "holds" and x.check not in bad))

    @property
    def skipped(self) -> list[Line]:
        """What was not checked, with the reasons."""
        return [line for line in self.lines if line.result == "skipped"]

    @property
    def failed(self) -> list[Line]:
        """What does not hold."""
        return [line for line in self.lines if line.result == "fails"]

    def problems(self) -> str:
        """Everything that does not hold, a line each."""
        found = [f"  {x.check}: {x.what}{': ' if x.what else ''}{x.reason}" for x in self.failed]
        return "\n".join([f"{self.model} ({self.adapter}): {len(found)} conditions do not hold", *found])

    def __repr__(self) -> str:
        rows = [[x.check, x.what, x.result + (f": {x.reason}" if x.reason else "")] for x in self.lines]
        return f"{self.model} ({self.adapter})\n" + table(["check", "of", "result"], rows, left=3)


@dataclass
class Case:
    """A model in float64 with weights drawn anew, and what is found of it.

    Attributes:
        model: in evaluation mode; checks take copies, see :meth:`twin`.
        inputs: keywords of its forward, no padding in them.
        reader: the class that reads the model back from a folder.
        adapter: for the report.
        no_text: why exits cannot stand on it; ``None``: they can.
        check: name of the check that is being made.
    """

    model: PreTrainedModel
    inputs: Inputs
    reader: Any
    adapter: str
    no_text: str | None
    check: str = ""
    lines: list[Line] = field(default_factory=list)

    @classmethod
    def of(
        cls, model: PretrainedConfig | PreTrainedModel, inputs: Mapping[str, Tensor] | None, auto: Any
    ) -> Case:
        """A case of what :func:`~prunekit.testing.check_architecture` was given."""
        if isinstance(model, PreTrainedModel):
            reader, made = type(model), copy.deepcopy(model)
        else:
            reader = auto
            config = copy.deepcopy(model)
            made = auto.from_config(config) if hasattr(auto, "from_config") else auto(config)
        _draw(made)
        made = _double(made.eval())
        architecture = architecture_of(made)
        if inputs is None:
            inputs = random_inputs(made)
        given = {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}
        case = cls(made, given, reader, type(architecture).__name__, _no_text(architecture, made))
        if not output_of(made, given):
            raise ValueError(f"{type(made).__name__} gives no tensor of numbers")
        return case

    def held(self, what: str, reason: str = "") -> None:
        """Note a condition that holds."""
        self.lines.append(Line(self.check, what, "holds", reason))

    def skipped(self, what: str, reason: str) -> None:
        """Note a condition that does not apply."""
        self.lines.append(Line(self.check, what, "skipped", reason))

    def failed(self, what: str, problem: str, look: str) -> None:
        """Note a condition that does not hold, and what to look at."""
        self.lines.append(Line(self.check, what, "fails", f"{problem}; look at: {look}"))

    def twin(self, dtype: torch.dtype = torch.float64) -> Any:
        """A copy of the model."""
        twin: Any = copy.deepcopy(self.model)
        return twin if dtype == torch.float64 else twin.to(dtype)

    def backbone(self) -> Any:
        """A copy of the bare backbone, in float32: some masks do not bear being cast from float64 to it."""
        return backbone_of(self.twin(torch.float32))

    def groups(self, model: nn.Module, names: tuple[str, ...] = GRANULARITIES) -> dict[str, list[Group]]:
        """Groups by granularity, of those that the model has."""
        found = {}
        for name in names:
            try:
                found[name] = granularities.build(name).groups(model)
            except UnsupportedModelError as error:
                found[name] = []
                self.reasons[name] = error.message
        return found

    @property
    def reasons(self) -> dict[str, str]:
        """Why granularities do not apply, once :meth:`groups` was asked."""
        return self.__dict__.setdefault("_reasons", {})

    def rows(self, count: int) -> Inputs:
        """The inputs, of so many rows: they are repeated."""
        index = torch.arange(count) % self.size
        return {name: value[index] for name, value in self.inputs.items()}

    @property
    def size(self) -> int:
        """Rows of the inputs."""
        return int(next(iter(self.inputs.values())).shape[0])

    def padded(self, side: Side, rows: int | None = None) -> Inputs:
        """The inputs with rows of different lengths."""
        return pad(self.rows(rows or self.size), side, self.model.config)


def pad(inputs: Inputs, side: Side, config: Any) -> Inputs:
    """Make rows shorter, the first alone left whole, with padding in the place of what is missing."""
    if side == "no padding":
        return dict(inputs)
    count, tokens = inputs["input_ids"].shape
    lengths = torch.tensor([tokens - (3 * i) % (tokens - 1) for i in range(count)])[:, None]
    end = _number(config, "eos_token_id")
    place = torch.arange(tokens)[None]
    start = tokens - lengths if side == "padding on the left" else torch.zeros_like(lengths)
    real = (place >= start) & (place < start + lengths)
    shifted = (place - start).clamp(0, tokens - 1)
    ids = inputs["input_ids"].gather(1, shifted)
    if end is not None:
        ids = torch.where(place == start + lengths - 1, inputs["input_ids"][:, -1:], ids)
    padding = _number(config, "pad_token_id")
    padded = inputs | {
        "input_ids": torch.where(real, ids, 0 if padding is None else padding),
        "attention_mask": real.long(),
    }
    if "token_type_ids" in inputs:
        padded["token_type_ids"] = inputs["token_type_ids"].gather(1, shifted) * real
    return padded


def floats(inputs: Inputs) -> Inputs:
    """The same in float32."""
    return {name: v.float() if v.is_floating_point() else v for name, v in inputs.items()}


def row_alone(inputs: Inputs, row: int) -> Inputs:
    """One row, without its padding."""
    alone = {name: value[row : row + 1] for name, value in inputs.items()}
    mask = alone.get("attention_mask")
    if mask is not None:
        real = mask[0].bool()
        same = [n for n in ("input_ids", "attention_mask", "token_type_ids") if n in alone]
        alone |= {name: alone[name][:, real] for name in same}
    return alone


def real_tokens(inputs: Inputs, hidden: Tensor) -> Tensor:
    """Where hidden states ``[B, T, H]`` are no padding's: bool ``[B, T]``."""
    mask = inputs.get("attention_mask")
    if mask is None or mask.shape != hidden.shape[:2]:
        return torch.ones(hidden.shape[:2], dtype=torch.bool)
    return mask.bool()


def random_inputs(model: nn.Module, rows: int = 4) -> Inputs:
    """Random inputs without padding, of what a model takes.

    Raises:
        UnsupportedModelError: the class does not say what it takes.
    """
    generator = torch.Generator().manual_seed(0)
    config = getattr(model, "config", None)
    made = sample_inputs(model, TOKENS)
    end = _number(config, "eos_token_id")
    words = _number(config, "vocab_size") or 100
    found = {}
    for name, value in made.items():
        shape = (rows, *value.shape[1:])
        if value.is_floating_point():
            found[name] = torch.randn(shape, generator=generator, dtype=torch.float64)
        elif name.endswith("input_ids"):
            # The first ids are those of special tokens, nearly everywhere.
            found[name] = torch.randint(min(10, words // 2), words, shape, generator=generator)
            if end is not None:
                found[name][found[name] == end] -= 1
                found[name][:, -1] = end
        else:
            found[name] = torch.ones(shape, dtype=value.dtype)
    return found


@torch.no_grad()
def output_of(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """All tensors of numbers that a model gives."""
    return numbers_of(model(**inputs))


def numbers_of(output: Any) -> list[Tensor]:
    """All tensors of numbers in an output."""
    return [tensor for tensor in tensors_of(output) if tensor.is_floating_point()]


def distance(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference; infinite where shapes differ or something is no number."""
    if [t.shape for t in found] != [t.shape for t in expected]:
        return float("inf")
    worst = [float((a - b).abs().max()) for a, b in zip(found, expected, strict=True) if a.numel()]
    return max((d if d == d else float("inf") for d in worst), default=0.0)


def _number(config: Any, name: str) -> int | None:
    """A number of a configuration, or of its part about text; no id that its vocabulary does not have."""
    for part in (config, getattr(config, "text_config", None)):
        value = getattr(part, name, None)
        value = value[0] if isinstance(value, (list, tuple)) and value else value
        if type(value) is int and 0 <= value <= getattr(part, "vocab_size", value):
            return value
    return None


def _no_text(architecture: Architecture, model: nn.Module) -> str | None:
    try:
        architecture.check_text(backbone_of(model))
    except UnsupportedModelError as error:
        return error.message
    return None


@torch.no_grad()
def _draw(model: nn.Module) -> None:
    """Weights in which nothing is zero, alike, or too small to be seen."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        drawn = torch.randn(parameter.shape, generator=generator).to(parameter)
        if parameter.dim() < 2:
            parameter.add_(drawn, alpha=0.2)
        else:
            parameter.copy_(drawn * parameter.shape[-1] ** -0.5)


def _double(model: PreTrainedModel) -> PreTrainedModel:
    doubled = model.double()
    for module in doubled.modules():
        fit_experts(module)
    return doubled


def refusal(error: BaseException) -> str:
    """An error of a library as a reason."""
    return f"{type(error).__name__}: {first_line(error)}"[:200]


@contextmanager
def quietly() -> Iterator[None]:
    """No bars, no warnings, and the same random numbers afterwards as without."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
