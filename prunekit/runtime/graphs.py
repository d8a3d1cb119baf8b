"""Export: a model as graphs for other runtimes."""

from __future__ import annotations

import copy
import importlib.util
import io
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..architectures import id_limits
from ..architectures.blocks import is_experts
from ..architectures.structure import sample_inputs, tensors_of
from ..errors import CheckpointError, UnsupportedModelError, first_line
from ..exits import MultiExitForSequenceClassification
from ..files import write_bytes
from ..modes import evaluating
from .segments import Contexts, Graph, Segments

OPSET = 17
Axes = dict[int, str]
_TEXT: Axes = {0: "batch", 1: "tokens"}


class _Whole(nn.Module):
    """A model as one graph.

    Args:
        model: gives logits, or hidden states.
        inputs: names.
        exit_number: of a model with exits: which exit ends the graph, from 0; ``None``: all are computed.
    """

    def __init__(self, model: nn.Module, inputs: Sequence[str], exit_number: int | None = None) -> None:
        super().__init__()
        self.model, self.inputs, self.exit_number = model, tuple(inputs), exit_number
        self.segments: Segments | None = None
        if exit_number is not None and isinstance(model, MultiExitForSequenceClassification):
            self.segments = Segments(model)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(self.inputs, given, strict=True))
        if self.segments is not None and self.exit_number is not None:
            hidden, contexts = self.segments.embed(named)
            for number in range(self.exit_number + 1):
                hidden, logits, _ = self.segments.run(number, hidden, named["attention_mask"], contexts)
            return (logits,)
        if isinstance(self.model, MultiExitForSequenceClassification):
            output = self.model(**named, all_exits=True)
            certainty = output.exit_certainty
            return (output.exit_logits,) if certainty is None else (output.exit_logits, certainty)
        output = self.model(**named)
        found = getattr(output, "logits", None)
        return (found if isinstance(found, Tensor) else next(tensors_of(output)),)


def export_onnx(model: nn.Module, path: str | os.PathLike[str], *, exit_layer: int | None = None) -> Path:
    """Write a model as one ONNX graph, in float32.

    A model of texts takes ``input_ids``, ``attention_mask`` and, where it has segments, ``token_type_ids``,
    int64 ``[batch, tokens]``, both dimensions free. What it gives depends on the model:

    - with exits: ``exit_logits``, float ``[exits, batch, classes]``, and where the exits say how sure they
      are ``exit_certainty``, float ``[exits, batch]``. Examples do not leave early inside the graph: apply an
      exit policy to the output (``policy.exits(exit_logits, exit_certainty)``), or give ``exit_layer``;
    - with ``exit_layer``: ``logits``, float ``[batch, classes]``, and the layers after it are left out;
    - without exits: ``logits``, or ``last_hidden_state`` of a model without a head.

    Args:
        model: any model of transformers, or one with exits; it is left as it is. Where its weights are not
            float32, those of the graph are: they are converted, not rounded.
        path: the file, written whole or not at all.
        exit_layer: the layer, from 1, whose exit ends the graph.

    Raises:
        CheckpointError: the package ``onnx`` is not installed.
        UnsupportedModelError: the model has experts, or the exporter refuses it, or there is no such exit.
        RunError: the file cannot be written.
    """
    require_onnx()
    model = exportable(model)
    inputs = example_inputs(model)
    number = None
    names = [_output_name(model)]
    if isinstance(model, MultiExitForSequenceClassification):
        layers = list(model.config.exit_layers)
        if exit_layer is not None:
            number, names = _exit_number(layers, exit_layer), ["logits"]
        else:
            names = ["exit_logits"] if model.certainty is None else ["exit_logits", "exit_certainty"]
    elif exit_layer is not None:
        raise UnsupportedModelError(f"{type(model).__name__} has no exits", "leave exit_layer out")
    axes: dict[str, Axes] = {
        name: _TEXT if value.dim() == 2 else {0: "batch"} for name, value in inputs.items()
    }
    axes |= {name: {1: "batch"} if name.startswith("exit_") else {0: "batch"} for name in names}
    whole = _Whole(model, tuple(inputs), number)
    return write_bytes(path, onnx_graph(whole, inputs, names, axes))


def require_onnx() -> None:
    """Raise ``CheckpointError`` where the package that writes ONNX files is not installed."""
    if importlib.util.find_spec("onnx") is None:
        raise CheckpointError("the export needs the package onnx", "pip install 'prunekit[export]'")


def exportable(model: nn.Module) -> Any:
    """A model that the exporter takes: on the CPU, in float32; the same one where it is.

    Raises:
        UnsupportedModelError: it has experts.
    """
    if any(is_experts(module) for module in model.modules()):
        raise UnsupportedModelError(
            "the model has experts: which tokens each gets depends on the text, and a graph would keep the "
            "example's choice",
            "export a model without experts",
        )
    floats = [p for p in model.parameters() if p.is_floating_point()]
    if all(p.dtype == torch.float32 and p.device.type == "cpu" for p in floats):
        return model
    return copy.deepcopy(model).to("cpu", torch.float32)


def example_inputs(model: Any) -> dict[str, Tensor]:
    """Inputs to trace with: with padding, or the graph would hold the short cut for batches without."""
    if getattr(model, "main_input_name", "input_ids") != "input_ids":
        return sample_inputs(model)
    ids = torch.ones((2, 5), dtype=torch.int64)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    inputs = {"input_ids": ids, "attention_mask": mask}
    if id_limits(model).get("token_type_ids", 0) > 1:
        inputs["token_type_ids"] = torch.zeros_like(ids)
    return inputs


def padding_of(model: Any) -> dict[str, int]:
    """What a model's inputs are filled up with, where it is not 0."""
    padding = getattr(getattr(model.config, "backbone", model.config), "pad_token_id", None)
    return {} if padding is None else {"input_ids": int(padding)}


def label_names(model: Any) -> list[str]:
    """Names of a classifier's classes."""
    names = model.config.id2label
    return [names[number] for number in sorted(names)]


def onnx_graph(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], axes: Mapping[str, Axes]
) -> bytes:
    """A module as an ONNX file.

    Args:
        module: takes the inputs in order, gives a tuple.
        inputs: to trace with.
        outputs: names.
        axes: names of free dimensions, by input and output.

    Raises:
        UnsupportedModelError: the exporter refuses it; it says why.
    """
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings(), evaluating(module), torch.no_grad():
            # The tracing exporter is the one that needs no further package; its notices are not the user's.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                tuple(inputs.values()),
                buffer,  # type: ignore[arg-type]  # the tracing exporter takes a stream as well
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes=dict(axes),
                opset_version=OPSET,
                dynamo=False,
            )
    except Exception as error:  # of the exporter, or of whatever the model's modules do
        raise UnsupportedModelError(
            f"the exporter to ONNX refuses the model: {type(error).__name__}: {first_line(error)}",
            "export it to another format, or give it attn_implementation='eager'",
        ) from error
    return buffer.getvalue()


def onnx_segments(model: MultiExitForSequenceClassification) -> tuple[list[bytes], bytes | None]:
    """The graphs of a model's segments, and the one that makes contexts of a mask, if there are any."""
    segments, inputs = Segments(model), example_inputs(model)
    with torch.no_grad(), evaluating(model):
        hidden, contexts = segments.embed(inputs)
        example = Contexts(contexts)
    tensors = {f"context_{place}": tensor for place, tensor in enumerate(example.tensors)}
    given = {**inputs, **tensors, "hidden": torch.randn_like(hidden)}
    axes: dict[str, Axes] = {
        name: {dim: f"{name}_{dim}" for dim in range(tensor.dim())} for name, tensor in tensors.items()
    }
    axes |= dict.fromkeys((*inputs, "hidden", "hidden_out"), _TEXT)
    axes |= {name: {0: "batch"} for name in ("logits", "certainty")}

    def graph(number: int) -> bytes:
        made = Graph(segments, number, example, tuple(inputs))
        named = (*made.inputs, *made.outputs)
        return onnx_graph(made, {n: given[n] for n in made.inputs}, made.outputs, {n: axes[n] for n in named})

    return [graph(number) for number in range(len(segments.parts))], graph(-1) if tensors else None


def _exit_number(layers: Sequence[int], exit_layer: int) -> int:
    if exit_layer not in layers:
        raise UnsupportedModelError(
            f"there is no exit on layer {exit_layer}", f"the exits are on {', '.join(map(str, layers))}"
        )
    return list(layers).index(exit_layer)


def _output_name(model: nn.Module) -> str:
    return (
        "logits" if "For" in type(model).__name__ or "LMHead" in type(model).__name__ else "last_hidden_state"
    )
