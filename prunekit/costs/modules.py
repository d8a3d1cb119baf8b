"""What a model costs as it is: per part, per layer, and up to each exit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from ..architectures import architecture_of, backbone_of
from ..architectures.blocks import is_experts, multiplies, width_in
from ..errors import UnsupportedModelError
from ..exits.certainty import ExitCertainty
from ..exits.heads import ExitHead
from .model import Cost
from .positions import attention_pairs, transformer_positions

WORDS, POSITIONS, ATTENTION, FFN, NORMS, POOLER, EXITS, HEAD = PARTS = (
    "word embeddings",
    "other embeddings",
    "attention",
    "FFN",
    "norms",
    "pooler",
    "exits",
    "head",
)


@dataclass(frozen=True)
class ModuleCost:
    """Cost of one part of one layer.

    Attributes:
        part: one of ``PARTS``.
        layer: 1-based; for an exit, the layer it stands on; ``None`` for what the layers share.
        parameters: tied ones are counted where they first appear.
        macs: multiply-adds of one example.
    """

    part: str
    layer: int | None
    parameters: int
    macs: int


# Module -> the part and the layer it is of, or the layers that share it.
_Places = dict[nn.Module, list[tuple[str, int | None]]]


def module_costs(
    model: nn.Module, sequence_length: int = 128, places: _Places | None = None
) -> list[ModuleCost]:
    """Every parameter and multiply-add of a transformer, once, by part and layer.

    Args:
        model: the transformer.
        sequence_length: tokens of the example.
        places: of its modules, where they are known.

    Raises:
        UnsupportedModelError: the model is of no registered architecture.
    """
    places = _places(model) if places is None else places
    positions = transformer_positions(model, sequence_length)
    pairs = attention_pairs(model, sequence_length)
    totals: dict[tuple[str, int | None], list[int]] = {}
    seen: set[int] = set()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if not own:
            continue
        rows = [totals.setdefault(place, [0, 0]) for place in places.get(module, [(HEAD, None)])]
        for parameter in own:
            rows[0][0] += 0 if id(parameter) in seen else parameter.numel()
            seen.add(id(parameter))
        if module in positions:
            macs = _macs(module, positions[module], pairs.get(module, 0))
            for row in rows:  # layers that share a module use it as often as each other
                row[1] += macs // len(rows)
    _share_out(model, totals)
    order = {part: i for i, part in enumerate(PARTS)}
    costs = [ModuleCost(part, layer, *row) for (part, layer), row in totals.items()]
    return sorted(costs, key=lambda c: (c.layer if c.layer is not None else _end(c.part), order[c.part]))


def total_cost(model: nn.Module, sequence_length: int = 128) -> Cost:
    """Parameters of a transformer, and multiply-adds of one example through all layers and exits."""
    return _sum(module_costs(model, sequence_length))


def layer_costs(model: nn.Module, sequence_length: int = 128) -> dict[int, Cost]:
    """Cost of every layer, 1-based, without its exit."""
    costs = [c for c in module_costs(model, sequence_length) if c.part != EXITS and c.layer is not None]
    return {n: _sum(c for c in costs if c.layer == n) for n in sorted({c.layer for c in costs if c.layer})}


def parameter_costs(model: nn.Module, sequence_length: int = 128) -> dict[str, Cost]:
    """Cost of every part (embeddings, attention, FFN, norms, exits, ...), over all layers."""
    costs = module_costs(model, sequence_length)
    return {
        part: _sum(c for c in costs if c.part == part) for part in PARTS if any(c.part == part for c in costs)
    }


def exit_macs(
    model: nn.Module, lengths: Sequence[int] | npt.NDArray[np.int64] | Tensor
) -> npt.NDArray[np.int64]:
    """Multiply-adds up to and including each exit, for inputs of these unpadded lengths: ``[N, E]``.

    An example that leaves at exit k has paid for all the layers up to it and for exits 1 to k, poolers
    and learned pooling included. A model without exits, such as a plain classifier, counts as one exit
    that is reached through the whole model.
    """
    tokens = np.asarray(lengths, dtype=np.int64).reshape(-1)
    if tokens.size == 0 or tokens.min() < 1:
        raise ValueError(f"lengths must be given, and at least 1 each, not {tokens.min(initial=0)}")
    unique, where = np.unique(tokens, return_inverse=True)
    places = _places(model)
    table = [_up_to_exits(module_costs(model, int(length), places)) for length in unique]
    return np.array(table, dtype=np.int64)[where.reshape(-1)]


def _up_to_exits(costs: Sequence[ModuleCost]) -> list[int]:
    exits = sorted(c.layer for c in costs if c.part == EXITS and c.layer is not None)
    if not exits:
        return [_sum(costs).macs]
    # What has no layer (embeddings) comes before all of them.
    return [sum(c.macs for c in costs if c.layer is None or c.layer <= exit) for exit in exits]


def _end(part: str) -> float:
    """Where a part that no layer owns stands among them: embeddings first, poolers and heads last."""
    return 0 if part in (WORDS, POSITIONS) else float("inf")


def _sum(costs: Iterable[ModuleCost]) -> Cost:
    rows = list(costs)
    return Cost(sum(c.parameters for c in rows), sum(c.macs for c in rows))


def _share_out(model: nn.Module, totals: dict[tuple[str, int | None], list[int]]) -> None:
    """What the exits' common layer costs, to each of them; its parameters stay with the first."""
    layers = getattr(model.config, "exit_layers", None) or []
    for module in model.modules():
        if isinstance(module, ExitCertainty):
            macs = module.linear.weight.numel()
            totals[EXITS, layers[0]][1] -= macs * len(layers)
            for layer in layers:
                totals[EXITS, layer][1] += macs


def _macs(module: nn.Module, positions: float, pairs: float) -> int:
    if is_experts(module):
        return round(sum(p.numel() for p in module.parameters(recurse=False)) * positions)
    weight = module.get_parameter("weight")
    return round(weight.numel() * positions + (2 * pairs * width_in(module) if pairs else 0))


def _places(model: nn.Module) -> _Places:
    """Part and layer of every module, or layers that share it; what is not in it belongs to a task's head.

    Layers are counted from 1, those of a decoder after those of the encoder.
    """
    architecture, backbone = architecture_of(model), backbone_of(model)
    places: _Places = {}

    def put(modules: Iterable[nn.Module], part: str, layer: int | None = None) -> None:
        places.update((module, [(part, layer)]) for module in modules)

    for module in backbone.modules():
        put([module], POSITIONS if multiplies(module) or isinstance(module, nn.Embedding) else NORMS)
    try:
        owner, attribute = architecture.word_embeddings(backbone)
        put(getattr(owner, attribute).modules(), WORDS)
    except UnsupportedModelError:
        pass  # images have none
    pooler = getattr(backbone, "pooler", None)
    if isinstance(pooler, nn.Module):
        put(pooler.modules(), POOLER)
    numbers: dict[nn.Module, list[int]] = {}
    for number, layer in enumerate((m for stack in architecture.stacks(backbone).values() for m in stack), 1):
        numbers.setdefault(layer, []).append(number)
    for layer, every in numbers.items():
        parts = dict.fromkeys(layer.modules(), NORMS)
        for block in architecture.blocks(layer):
            owned = [piece.module for piece in block.slices]
            parts.update(dict.fromkeys(owned, ATTENTION if block.kind == "attention" else FFN))
        places.update((module, [(part, number) for number in every]) for module, part in parts.items())
    heads = [module for module in model.modules() if isinstance(module, ExitHead)]
    layers = getattr(model.config, "exit_layers", None) or []
    for head, number in zip(heads, layers, strict=True):
        put(head.modules(), EXITS, number)
    for module in model.modules():
        if isinstance(module, ExitCertainty):
            put(module.modules(), EXITS, layers[0])
    return places
