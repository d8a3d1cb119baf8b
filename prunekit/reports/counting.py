"""Counting by tracing: fvcore's analysis, with what it lacks, as a table per module and per exit.

The convention is that of :mod:`prunekit.costs`: multiply-adds of matrix products and convolutions. fvcore
calls multiply-adds "flops", skips scaled-dot-product attention, and adds norms and pooling; here the first
is named, the second counted, the third left out. What is neither counted nor known to be free of matrix
products is listed in :attr:`Counts.uncounted`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis, parameter_count
from fvcore.nn.jit_handles import addmm_flop_jit, conv_flop_jit, einsum_flop_jit, get_shape, linear_flop_jit
from torch import Tensor, nn

from ..architectures import architecture_of, longest_input
from ..costs import Cost
from ..errors import UnsupportedModelError
from ..exits import MultiExitForSequenceClassification
from ..modes import evaluating
from ..text import table

# How deep, and how many, modules are shown in a table of counts.
_DEPTH = 4
_ROWS = 60

Handle = Callable[[list[Any], list[Any]], int]

# Names of operators, fused kernels among them, that multiply matrices; one without a handle is reported.
_MULTIPLIES = (
    "attention",
    "mm",
    "mv",
    "matmul",
    "dot",
    "conv",
    "linear",
    "lstm",
    "gru",
    "rnn",
    "einsum",
    "PythonOp",
)
_ATTENTION = (
    "scaled_dot_product_attention",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
    "_scaled_dot_product_attention_math",
)


@dataclass(frozen=True)
class ModuleCount:
    """One module with all it contains: parameters, and multiply-adds of the traced batch."""

    name: str
    type: str
    parameters: int
    macs: int

    @property
    def flops(self) -> int:
        """Two for every multiply-add."""
        return 2 * self.macs


@dataclass(frozen=True)
class ExitCount:
    """An exit: multiply-adds up to and including it, and its own."""

    layer: int
    parameters: int
    macs: int
    own_macs: int

    @property
    def flops(self) -> int:
        """Two for every multiply-add, up to and including the exit."""
        return 2 * self.macs


@dataclass(frozen=True, repr=False)
class Counts:
    """What a trace of a model counted, for the whole batch; printed as a table of its larger modules.

    Attributes:
        modules: every module in the order of the model, the model itself first, named ``""``.
        exits: of a multi-exit model, else empty.
        operators: multiply-adds by operator.
        uncounted: operators that multiply matrices, or may, and have no count, with how often they ran;
            where this is not empty, the totals are too small.
        ignored: operators outside the convention (additions, activations, norms, look-ups).
    """

    modules: list[ModuleCount]
    operators: dict[str, int]
    batch_size: int
    sequence_length: int | None = None
    exits: list[ExitCount] = field(default_factory=list)
    uncounted: dict[str, int] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> Cost:
        """Of the whole model."""
        return Cost(self.modules[0].parameters, self.modules[0].macs)

    def __repr__(self) -> str:
        shown = [row for row in self.modules if row.name.count(".") < _DEPTH][:_ROWS]
        lines = [
            [row.name or "total", row.type, f"{row.parameters:,}", f"{row.macs:,}", f"{row.flops:,}"]
            for row in shown
        ]
        text = table(["module", "type", "parameters", "multiply-adds", "FLOPs"], lines, left=2)
        if len(shown) < len(self.modules):
            text += f"\nand {len(self.modules) - len(shown)} modules inside of these: see modules"
        if self.exits:
            exits = [[row.layer, f"{row.macs:,}", f"{row.flops:,}"] for row in self.exits]
            text += "\n" + table(["up to the exit on layer", "multiply-adds", "FLOPs"], exits)
        if self.uncounted:
            text += f"\nnot counted: {', '.join(self.uncounted)}"
        return text

    def module(self, name: str) -> ModuleCount:
        """The row of one module, by its dotted name."""
        for row in self.modules:
            if row.name == name:
                return row
        raise KeyError(f"the model has no module {name!r}")


def count(
    model: nn.Module,
    sequence_length: int = 128,
    batch_size: int = 1,
    example_inputs: Any = None,
) -> Counts:
    """Parameters and multiply-adds of a model, by tracing one forward pass.

    A multi-exit model is traced with every exit computed, whatever its policy. The model is traced in
    evaluation mode, on the device it is on, and left as it was.

    Args:
        model: a transformer that takes ``input_ids``, or any module with ``example_inputs``.
        sequence_length: tokens of the inputs made for a transformer, none of them padding.
        batch_size: of the inputs made for a transformer.
        example_inputs: a tensor, a tuple of arguments, or a mapping of keywords.

    Raises:
        UnsupportedModelError: the module takes no ``input_ids`` and ``example_inputs`` are not given.
    """
    made = example_inputs is None
    names, values = _inputs(model, sequence_length, batch_size) if made else _named(example_inputs)
    traced = _Traced(model, names)
    with _quiet(), evaluating(model):
        analysis = FlopCountAnalysis(traced, values).clear_op_handles().set_op_handle(**_HANDLES)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        by_module, operators = analysis.by_module(), analysis.by_operator()
        skipped = analysis.unsupported_ops()
    parameters = parameter_count(model)
    # A module that has two names is counted under the first one found.
    modules = [
        ModuleCount(name, type(module).__name__, parameters[name], int(by_module[_inner(name)]))
        for name, module in model.named_modules()
    ]
    return Counts(
        modules=modules,
        operators={name: int(n) for name, n in operators.items() if n},
        batch_size=batch_size if made else int(values[0].shape[0]),
        sequence_length=sequence_length if made else None,
        exits=_exits(model, modules),
        uncounted={op: n for op, n in skipped.items() if _may_multiply(op)},
        ignored={op: n for op, n in skipped.items() if not _may_multiply(op)},
    )


class _Traced(nn.Module):
    """A model behind positional tensor arguments and a tuple of tensors, as tracing wants it."""

    def __init__(self, model: nn.Module, names: list[str | None]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        args = [v for name, v in zip(self.names, values, strict=True) if name is None]
        kwargs = {name: v for name, v in zip(self.names, values, strict=True) if name is not None}
        if isinstance(self.model, MultiExitForSequenceClassification):
            # Exits that depend on data cannot be traced, so all are computed.
            output = self.model(*args, **kwargs, all_exits=True)
            return tuple(_tensors([output.exit_logits, output.exit_certainty]))
        return tuple(_tensors(self.model(*args, **kwargs)))


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = list(output.values())
    return [t for item in output for t in _tensors(item)] if isinstance(output, (list, tuple)) else []


def _inner(name: str) -> str:
    return f"model.{name}" if name else "model"


def _inputs(model: nn.Module, length: int, batch_size: int) -> tuple[list[str | None], tuple[Tensor, ...]]:
    if getattr(model, "main_input_name", None) != "input_ids":
        raise UnsupportedModelError(
            f"{type(model).__name__} takes no input_ids, so no example of it can be made",
            "give example_inputs: a tensor, a tuple of arguments, or a mapping of keywords",
        )
    limit = longest_input(model)
    if limit is not None and length > limit:
        raise UnsupportedModelError(
            f"{type(model).__name__} takes at most {limit} tokens, not {length}",
            "choose a shorter sequence length",
        )
    device = next(model.parameters()).device
    # Token 2 is padding in no family, which would shift RoBERTa's positions.
    ids = torch.full((batch_size, length), 2, dtype=torch.int64, device=device)
    return ["input_ids", "attention_mask"], (ids, torch.ones_like(ids))


def _named(example_inputs: Any) -> tuple[list[str | None], tuple[Tensor, ...]]:
    if isinstance(example_inputs, Mapping):
        return list(example_inputs), tuple(example_inputs.values())
    values = (example_inputs,) if isinstance(example_inputs, Tensor) else tuple(example_inputs)
    return [None] * len(values), values


def _exits(model: nn.Module, modules: list[ModuleCount]) -> list[ExitCount]:
    """Up to each exit: all that is no layer and no exit, the layers up to it, and the exits up to it."""
    if not isinstance(model, MultiExitForSequenceClassification):
        return []
    names = {module: name for name, module in model.named_modules()}
    rows = {row.name: row for row in modules}
    layers = [rows[names[m]] for m in architecture_of(model).layers(model.backbone)]
    heads = [rows[names[m]] for m in model.exits]
    # One layer for all exits, whose parameters the first one is given.
    sure = rows[names[model.certainty]] if model.certainty is not None else None
    each = sure.macs // len(heads) if sure is not None else 0
    shared = rows[""].macs - sum(row.macs for row in (*layers, *heads)) - each * len(heads)
    return [
        ExitCount(
            layer=layer,
            parameters=head.parameters + (sure.parameters if sure is not None and i == 0 else 0),
            macs=shared + sum(r.macs for r in layers[:layer]) + sum(r.macs + each for r in heads[: i + 1]),
            own_macs=head.macs + each,
        )
        for i, (layer, head) in enumerate(zip(model.config.exit_layers, heads, strict=True))
    ]


def _may_multiply(operator: str) -> bool:
    name = operator.rpartition("::")[2]
    return any(part in name for part in _MULTIPLIES)


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Scores and weighted values: ``[..., T, d] x [..., S, d]`` and ``[..., T, S] x [..., S, v]``."""
    query, key, value = (get_shape(i) for i in inputs[:3])
    return int(math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1]))


def _matmul_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Any operands that broadcast, vectors included: every output element takes the inner length."""
    shape = get_shape(outputs[0])
    return int(math.prod(shape) * get_shape(inputs[0])[-1])


def _baddbmm_macs(inputs: list[Any], outputs: list[Any]) -> int:
    return _matmul_macs(inputs[1:], outputs)


# Not fvcore's own set, which also holds norms and pooling.
_HANDLES: dict[str, Handle] = {
    "aten::linear": linear_flop_jit,
    "aten::addmm": addmm_flop_jit,
    "aten::einsum": einsum_flop_jit,
    "aten::_convolution": conv_flop_jit,
    **{f"aten::{name}": _attention_macs for name in _ATTENTION},
    **{f"aten::{name}": _matmul_macs for name in ("matmul", "bmm", "mm", "mv", "dot")},
    **{f"aten::{name}": _baddbmm_macs for name in ("baddbmm", "addbmm", "addmv")},
}


@contextmanager
def _quiet() -> Iterator[None]:
    """fvcore's warnings repeat what :class:`Counts` says."""
    logger = logging.getLogger("fvcore.nn.jit_analysis")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
