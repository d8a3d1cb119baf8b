"""Export to ONNX."""

from __future__ import annotations

import importlib.util
import io
import os
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from ..architectures.blocks import is_experts
from ..errors import CheckpointError, UnsupportedModelError
from ..exits import MultiExitForSequenceClassification
from ..files import write_bytes

OPSET = 17


class _AllExits(nn.Module):
    def __init__(self, model: MultiExitForSequenceClassification) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        output = self.model(input_ids, attention_mask, all_exits=True)
        certainty = output.exit_certainty
        return (output.exit_logits,) if certainty is None else (output.exit_logits, certainty)


def export_onnx(model: MultiExitForSequenceClassification, path: str | os.PathLike[str]) -> Path:
    """Write a multi-exit model as one ONNX graph that computes every exit.

    Inputs are ``input_ids`` and ``attention_mask``, int64 ``[batch, tokens]``, both dimensions free; the
    output is ``exit_logits``, float ``[exits, batch, classes]``, and where the exits say how sure they are
    ``exit_certainty``, float ``[exits, batch]``, as well. Segments are all 0, so a family that has them is
    for single texts. Examples do not leave early inside the graph: apply an exit policy to the output
    (``policy.exits(exit_logits, exit_certainty)``), or export a model whose ``exit_layers`` end where you
    want it to end.

    Args:
        model: on the CPU; its mode is left as it was.
        path: the file, written whole or not at all.

    Raises:
        CheckpointError: the package ``onnx`` is not installed.
        UnsupportedModelError: the model has experts.
        RunError: the file cannot be written.
    """
    if importlib.util.find_spec("onnx") is None:
        raise CheckpointError("the export needs the package onnx", "pip install 'prunekit[export]'")
    if any(is_experts(module) for module in model.modules()):
        raise UnsupportedModelError(
            "the model has experts: which tokens each gets depends on the text, and a graph would keep the "
            "example's choice",
            "export a model without experts",
        )
    training = model.training
    # Padding in the example, or the graph would hold the short cut for batches without any.
    input_ids = torch.full((2, 5), 1, dtype=torch.int64)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    free = {0: "batch", 1: "tokens"}
    names = ["exit_logits"] if model.certainty is None else ["exit_logits", "exit_certainty"]
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            # The tracing exporter is the one that needs no further package; its notices are not the user's.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                _AllExits(model).eval(),
                (input_ids, mask),
                buffer,  # type: ignore[arg-type]  # the tracing exporter takes a stream as well
                input_names=["input_ids", "attention_mask"],
                output_names=names,
                dynamic_axes={
                    "input_ids": free,
                    "attention_mask": free,
                    **{name: {1: "batch"} for name in names},
                },
                opset_version=OPSET,
                dynamo=False,
            )
    finally:
        model.train(training)
    return write_bytes(path, buffer.getvalue())
