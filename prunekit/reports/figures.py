"""Figures of models for a report: sizes, costs by part and layer, and what an evaluation needs of costs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import nn

from ..architectures import ModelShape, shape_of
from ..costs import exit_macs, layer_costs, module_costs, parameter_costs, total_cost
from .points import ExitCosts
from .schema import LayerSizes, ModelFigures, PartCost

EMBEDDINGS = ("word embeddings", "other embeddings")


def model_figures(
    model: nn.Module, name: str, sequence_length: int = 128, before: ModelShape | None = None
) -> ModelFigures:
    """Size and static cost of a transformer, with or without exits; the meta device will do.

    Args:
        before: sizes the model had before it was slimmed; default: its own.
    """
    shape = shape_of(model)
    cost = total_cost(model, sequence_length)
    parts = parameter_costs(model, sequence_length)
    return ModelFigures(
        name=name,
        parameters=cost.parameters,
        embedding_parameters=sum(parts[part].parameters for part in EMBEDDINGS if part in parts),
        macs=cost.macs,
        sequence_length=sequence_length,
        embedding_rank=shape.embedding_rank,
        layers=[
            LayerSizes(
                i,
                now.num_attention_heads,
                old.num_attention_heads,
                now.intermediate_size,
                old.intermediate_size,
            )
            for i, (now, old) in enumerate(zip(shape.layers, (before or shape).layers, strict=False), 1)
        ],
        parts=[PartCost(part, c.parameters, c.macs) for part, c in parts.items()],
        by_layer=[
            PartCost(f"layer {n}", c.parameters, c.macs)
            for n, c in layer_costs(model, sequence_length).items()
        ],
        by_exit=_exit_rows(model, sequence_length),
    )


def _exit_rows(model: nn.Module, sequence_length: int) -> list[PartCost]:
    """Each exit's own parameters, and the multiply-adds up to and including it."""
    own = [c for c in module_costs(model, sequence_length) if c.part == "exits"]
    if not own:
        return []
    return [
        PartCost(f"exit at layer {c.layer}", c.parameters, int(macs))
        for c, macs in zip(own, exit_macs(model, [sequence_length])[0], strict=True)
    ]


def exit_costs(
    model: nn.Module, dense: nn.Module, lengths: npt.NDArray[np.int64], sequence_length: int = 128
) -> ExitCosts:
    """What leaving at each exit costs for examples of these unpadded lengths, beside the dense model."""
    return ExitCosts(
        exits=exit_macs(model, [sequence_length])[0],
        exits_real=exit_macs(model, lengths),
        dense=int(exit_macs(dense, [sequence_length])[0, -1]),
        dense_real=exit_macs(dense, lengths)[:, -1],
        sequence_length=sequence_length,
    )
