"""A shallower, narrower copy of an encoder: some of its layers, hidden dimensions, heads and neurons.

The hidden size runs through the whole residual stream: embeddings, norms, all that attention and FFN read
and all they write. So the same dimensions are kept everywhere. Of anything, what has the largest magnitude
is kept: see :func:`magnitudes`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel

from ..errors import RecipeError, UnsupportedModelError
from ..groups import Slice
from .base import Architecture
from .shape import LayerShape, ModelShape, apply_shape, read_shape

# A parameter's dimension, and the positions of it that are kept.
Pick = tuple[Slice, Tensor]


@dataclass(frozen=True)
class Narrowing:
    """How small; ``None`` keeps what there is.

    Args:
        layers: of the original, counted from 1, in the order they take.
        hidden_size: H'.
        heads: of every layer. Heads are ``hidden_size / heads`` wide, as in BERT, but never wider than the
            original's: where the hidden size shrinks and their number does not, each becomes narrower;
            where their number shrinks, whole heads go first.
        neurons: of every layer's FFN.
    """

    layers: Sequence[int] | None = None
    hidden_size: int | None = None
    heads: int | None = None
    neurons: int | None = None


def narrowed(
    architecture: Architecture, backbone: PreTrainedModel, to: Narrowing
) -> tuple[PreTrainedModel, Tensor]:
    """A smaller copy of a backbone, and the hidden dimensions it kept: int64 ``[H']``, ascending.

    It has no pooler: exits have their own. A copy that keeps everything computes the same bits. On the meta
    device, where there are no values to compare, the first of everything are kept.

    Raises:
        RecipeError: a size that is larger than the original's, or does not go with the others.
        UnsupportedModelError: the family does not say where its residual stream is.
    """
    shape = read_shape(architecture, backbone)
    every = list(architecture.layers(backbone))
    numbers = _layer_numbers(to.layers, len(every))
    chosen = [every[number - 1] for number in numbers]
    hidden = shape.hidden_size if to.hidden_size is None else to.hidden_size
    _at_most("hidden_size", hidden, shape.hidden_size)
    old = [shape.layers[number - 1] for number in numbers]
    new = _layer_shapes(old, to, hidden, backbone.config.num_attention_heads, shape.hidden_size)
    picks: list[Pick] = []
    for layer, before, after in zip(chosen, old, new, strict=True):
        picks += _unit_picks(architecture, layer, before, after)
    keep, words = torch.arange(hidden), shape.embedding_size
    if hidden < shape.hidden_size:
        slices = architecture.residual_slices(backbone)
        _check_complete(architecture, every, slices)
        gone = {id(p) for layer in every if layer not in chosen for p in layer.parameters()}
        slices = [piece for piece in slices if id(piece.tensor) not in gone]
        keep = _largest(magnitudes(slices, shape.hidden_size), hidden)
        picks += [(piece, keep) for piece in slices]
        owner, attribute = architecture.word_embeddings(backbone)
        table = set(getattr(owner, attribute).modules())
        words = hidden if any(piece.module in table for piece in slices) else words
    goal = ModelShape(hidden, shape.vocab_size, words, shape.embedding_rank, tuple(new))
    student = _frame(architecture, backbone, goal, resized=(hidden, new) != (shape.hidden_size, old))
    stack = architecture.layers(backbone)
    prefix = next(name for name, module in backbone.named_modules() if module is stack)
    student.load_state_dict(_renumbered(_selected(backbone, picks), prefix, numbers))
    return student.train(backbone.training), keep


def magnitudes(slices: Sequence[Slice], size: int) -> Tensor:
    """How much weight each of ``size`` units has in the parameters it owns, float64 ``[size]``.

    ``sum over parameters of |unit's part|^2 / |parameter|^2``: in shares, or the largest matrix (the word
    embedding) would decide alone. On the meta device all are equal.
    """
    if any(piece.tensor.is_meta for piece in slices):
        return torch.zeros(size, dtype=torch.float64)
    total = torch.zeros(size, dtype=torch.float64)
    for piece in slices:
        squares = piece.tensor.detach().double().square()
        total += (
            piece.per_unit(squares, size) / squares.sum().clamp_min(torch.finfo(torch.float64).tiny)
        ).cpu()
    return total


def even_layers(count: int, depth: int) -> list[int]:
    """``count`` of ``depth`` layers, evenly spaced, the last one included: ``round(i * depth / count)``."""
    return [(2 * i * depth + count) // (2 * count) for i in range(1, count + 1)]


def _layer_numbers(layers: Sequence[int] | None, depth: int) -> list[int]:
    if layers is None:
        return list(range(1, depth + 1))
    numbers = list(layers)
    if not numbers or numbers != sorted(set(numbers)) or numbers[0] < 1 or numbers[-1] > depth:
        raise RecipeError(
            f"narrowing.layers: {numbers} are not layers of a model of {depth}",
            f"name them in ascending order, counted from 1 to {depth}",
        )
    return numbers


def _at_most(what: str, new: int, old: int) -> None:
    if not 1 <= new <= old:
        raise RecipeError(
            f"narrowing.{what}: {new} asked for, and the original has {old}", f"give 1 to {old}"
        )


def _layer_shapes(
    old: Sequence[LayerShape], to: Narrowing, hidden: int, frame_heads: int, old_hidden: int
) -> list[LayerShape]:
    """The layers' new widths."""
    new = []
    for layer in old:
        neurons = layer.intermediate_size if to.neurons is None else to.neurons
        _at_most("neurons", neurons, layer.intermediate_size)
        after = replace(layer, intermediate_size=neurons)
        if to.heads is not None or hidden < old_hidden:
            if layer.num_key_value_heads != layer.num_attention_heads:
                raise UnsupportedModelError(
                    f"{layer.num_attention_heads} query heads share {layer.num_key_value_heads} key/value "
                    "heads, which a student cannot narrow",
                    "narrow a model of grouped queries with the stage slenderize",
                )
            heads = layer.num_attention_heads if to.heads is None else to.heads
            _at_most("heads", heads, layer.num_attention_heads)
            width = _head_dim(hidden, to.heads or frame_heads, layer.head_dim)
            after = replace(after, num_attention_heads=heads, num_key_value_heads=heads, head_dim=width)
        new.append(after)
    return new


def _head_dim(hidden: int, heads: int, old: int) -> int:
    if hidden % heads == 0 and hidden // heads <= old:
        return hidden // heads
    if heads * old <= hidden and hidden % old == 0:
        return old
    raise RecipeError(
        f"narrowing.hidden_size: {hidden} dimensions do not part into {heads} heads of at most {old}",
        "give a hidden_size that the number of heads divides, or more heads",
    )


def _unit_picks(
    architecture: Architecture, layer: nn.Module, before: LayerShape, after: LayerShape
) -> list[Pick]:
    """What is kept of a layer's heads, of their dimensions, and of its neurons."""
    attention, ffn = architecture.attention(layer), architecture.feed_forward(layer)
    picks: list[Pick] = []
    if after.intermediate_size < before.intermediate_size:
        owned = [piece for matrix in ffn.inputs for piece in _rows(matrix)] + [Slice(ffn.output, "weight", 1)]
        neurons = _largest(magnitudes(owned, before.intermediate_size), after.intermediate_size)
        picks += [(piece, neurons) for piece in owned]
    heads, width = after.num_attention_heads, after.head_dim
    if (heads, width) == (before.num_attention_heads, before.head_dim):
        return picks
    # A product of query and key sums over a head's dimensions, one of value and output over others: each
    # of the two may lose its own.
    scores = [*_rows(attention.query), *_rows(attention.key)]
    values = [*_rows(attention.value), Slice(attention.output, "weight", 1)]
    old = (before.num_attention_heads, before.head_dim)
    every = [magnitudes(owned, old[0] * old[1]).reshape(old) for owned in (scores, values)]
    kept = _largest((every[0] + every[1]).sum(1), heads)
    for owned, each in zip((scores, values), every, strict=True):
        inside = torch.stack([_largest(row, width) for row in each[kept]])
        positions = (kept[:, None] * old[1] + inside).flatten()
        picks += [(piece, positions) for piece in owned]
    return picks


def _rows(linear: nn.Linear) -> list[Slice]:
    """The slices that a matrix' output rows own."""
    return [Slice(linear, name, 0) for name, _ in linear.named_parameters()]


def _largest(values: Tensor, count: int) -> Tensor:
    """Positions of the ``count`` largest, ascending; of equal ones the first."""
    return values.sort(descending=True, stable=True).indices[:count].sort().values


def _check_complete(architecture: Architecture, layers: Sequence[nn.Module], slices: Sequence[Slice]) -> None:
    """Every parameter of a layer is in the residual stream, or a bias of what only reads from it."""
    known = {id(piece.tensor) for piece in slices}
    for number, layer in enumerate(layers, 1):
        attention, ffn = architecture.attention(layer), architecture.feed_forward(layer)
        readers = (attention.query, attention.key, attention.value, *ffn.inputs)
        known |= {id(reader.bias) for reader in readers}
        for name, parameter in layer.named_parameters():
            if id(parameter) not in known:
                raise UnsupportedModelError(
                    f"layer {number}: {type(architecture).__name__}.residual_slices does not say whether "
                    f"{name} {tuple(parameter.shape)} is as wide as the hidden states"
                )


def _selected(backbone: nn.Module, picks: Sequence[Pick]) -> dict[str, Tensor]:
    """The state of a backbone with only what is picked of its tensors."""
    names = {id(parameter): name for name, parameter in backbone.named_parameters()}
    state = backbone.state_dict()
    tensors = {name: value.detach() for name, value in state.items() if not name.startswith("pooler.")}
    for piece, positions in picks:
        name = names[id(piece.tensor)]
        tensors[name] = tensors[name].index_select(piece.dim, positions.to(tensors[name].device))
    return tensors


def _renumbered(tensors: dict[str, Tensor], prefix: str, numbers: Sequence[int]) -> dict[str, Tensor]:
    """The tensors of some layers alone, under the numbers they have in the copy."""
    inside = prefix + "."
    new = {name: tensor for name, tensor in tensors.items() if not name.startswith(inside)}
    for place, number in enumerate(numbers):
        own = f"{inside}{number - 1}."
        for name, tensor in tensors.items():
            if name.startswith(own):
                new[f"{inside}{place}.{name.removeprefix(own)}"] = tensor
    return new


def _frame(
    architecture: Architecture, backbone: PreTrainedModel, shape: ModelShape, resized: bool
) -> PreTrainedModel:
    """A fresh model of a shape, for weights to be loaded into; made as it is when it is read from a file."""
    config = copy.deepcopy(backbone.config)
    width = shape.layers[0].head_dim
    heads = shape.hidden_size // width if resized else config.num_attention_heads
    architecture.resize(config, shape.hidden_size, heads, len(shape.layers))
    with torch.device(backbone.device):
        new = AutoModel.from_config(
            config, attn_implementation=backbone.config._attn_implementation, trust_remote_code=False
        )
    if hasattr(new, "pooler"):
        new.pooler = None
    apply_shape(architecture, new, shape)
    return new.to(backbone.dtype)
