"""What a model would cost at other sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ..architectures import FactorizedEmbedding, architecture_of, backbone_of
from ..architectures.blocks import is_experts, rows_dim
from ..errors import UnsupportedModelError
from ..groups import Group
from .positions import attention_pairs, is_transformer, measured_positions, transformer_positions

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Cost:
    """Parameters of a model, and multiply-adds of one example."""

    parameters: int
    macs: int

    @property
    def flops(self) -> int:
        """Two for every multiply-add."""
        return 2 * self.macs

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.parameters + other.parameters, self.macs + other.macs)


@dataclass
class _Dim:
    """A dimension of a parameter: ``fixed`` positions and some that groups own, so many a unit."""

    fixed: int
    owners: dict[str, int] = field(default_factory=dict)

    def at(self, sizes: Sizes) -> int:
        return self.fixed + sum(sizes[name] * width for name, width in self.owners.items())


@dataclass
class _Term:
    """A parameter: its dimensions, and how often an example multiplies by it (0: never)."""

    dims: list[_Dim]
    positions: float = 0
    # An attention's output matrix: its inputs are the width of the two attention products.
    pairs: float = 0
    inputs: int = 1

    def cost(self, sizes: Sizes, tokens: int) -> tuple[int, float]:
        numel = math.prod(d.at(sizes) for d in self.dims)
        products = 2 * self.pairs * self.dims[self.inputs].at(sizes) if self.pairs else 0
        return numel, numel * self.positions + products


@dataclass(frozen=True)
class _Embedding:
    """A word embedding of ``vocab_size x width`` whose rank a group decides."""

    group: str
    vocab_size: int
    width: int
    # Size at which it is, or was, one matrix; None where it came in two factors.
    whole: int | None

    def cost(self, sizes: Sizes, tokens: int) -> tuple[int, int]:
        rank = sizes[self.group]
        if rank == self.whole:
            return self.vocab_size * self.width, 0
        return rank * (self.vocab_size + self.width), tokens * rank * self.width


class CostModel:
    """What a model costs if its groups had other sizes, without building it.

    Exact: every parameter's size is the product of its dimensions, and each dimension is a linear
    function of the sizes of the groups that own it. The model is read once, as it is now.

    Args:
        model: of a registered architecture, or any module together with ``example_inputs``.
        groups: their sizes are what :meth:`total` varies; names are unique.
        sequence_length: tokens of the example that multiply-adds are counted for.
        example_inputs: the arguments (a tensor, a tuple, or a mapping of keywords) of one forward call,
            which then says how often each matrix is used; needed for modules of no registered
            architecture. The count is for one example, whatever the batch. Products that are no module's,
            such as attention's in an unknown model, are not seen.
        macs: ``False`` counts parameters alone, which needs no example.

    Attributes:
        uncounted: modules that own matrices whose multiply-adds are not counted, by name.

    Raises:
        UnsupportedModelError: no registered architecture, and no ``example_inputs``.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[Group],
        sequence_length: int = 128,
        example_inputs: Any = None,
        macs: bool = True,
    ) -> None:
        self.sequence_length = sequence_length
        self._sizes = {g.name: g.size for g in groups}
        if len(self._sizes) != len(groups):
            raise ValueError("groups must have unique names")
        positions: Mapping[nn.Module, float] = {}
        if not macs:
            pass
        elif example_inputs is not None:
            positions = measured_positions(model, example_inputs)
        elif is_transformer(model):
            positions = transformer_positions(model, sequence_length)
        else:
            raise UnsupportedModelError(
                f"{type(model).__name__} is of no registered architecture, so its costs must be measured",
                "give example_inputs: the arguments of one forward call",
            )
        pairs = attention_pairs(model, sequence_length)
        ranks = [g for g in groups if g.granularity == "rank"]
        self._embeddings = [_embedding(model, g) for g in ranks]
        skipped = {id(p) for m in _words(model, ranks) for p in m.parameters()}
        self._terms, self.uncounted = _terms(model, groups, positions, pairs, skipped)

    def total(self, sizes: Sizes | None = None) -> Cost:
        """Cost at ``sizes`` (group name -> units); groups that are not named keep what they have.

        Raises:
            KeyError: a name that is no group's.
        """
        unknown = set(sizes or ()) - set(self._sizes)
        if unknown:
            raise KeyError(f"no group is called {sorted(unknown)[0]!r}")
        at = {**self._sizes, **(sizes or {})}
        every: list[_Term | _Embedding] = [*self._terms, *self._embeddings]
        parts = [term.cost(at, self.sequence_length) for term in every]
        return Cost(sum(p for p, _ in parts), round(sum(m for _, m in parts)))


def _words(model: nn.Module, ranks: Sequence[Group]) -> list[nn.Module]:
    """The word embedding, where a group decides its rank."""
    if not ranks:
        return []
    owner, attribute = architecture_of(model).word_embeddings(backbone_of(model))
    return [getattr(owner, attribute)]


def _embedding(model: nn.Module, group: Group) -> _Embedding:
    words = _words(model, [group])[0]
    if isinstance(words, FactorizedEmbedding):
        # Where it came as one matrix, that size still means it.
        vocab_size, width = words.embedding.num_embeddings, words.projection.out_features
        return _Embedding(group.name, vocab_size, width, group.whole)
    vocab_size, width = words.get_parameter("weight").shape
    return _Embedding(group.name, vocab_size, width, group.size)


def _terms(
    model: nn.Module,
    groups: Sequence[Group],
    positions: Mapping[nn.Module, float],
    pairs: Mapping[nn.Module, float],
    skipped: set[int],
) -> tuple[list[_Term], tuple[str, ...]]:
    """One term a parameter (shared ones once, but used wherever they are), and what is not counted."""
    owners: dict[int, list[tuple[int, Group, int]]] = {}
    for group in groups:
        for piece in group.slices:
            dim = piece.dim % piece.tensor.dim()
            owners.setdefault(id(piece.tensor), []).append((dim, group, piece.width))
    terms: dict[int, _Term] = {}
    uncounted: list[str] = []
    for name, module in model.named_modules():
        for key, parameter in module.named_parameters(recurse=False):
            if id(parameter) in skipped:
                continue
            term = terms.get(id(parameter))
            if term is None:
                term = terms[id(parameter)] = _Term(_dims(f"{name}.{key}", parameter, owners))
            if module in positions and (key == "weight" or is_experts(module)):
                term.positions += positions[module]
                term.pairs += pairs.get(module, 0)
                term.inputs = 1 - rows_dim(module)
            elif parameter.dim() >= 2 and not isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
                uncounted.append(name or type(module).__name__)
    return list(terms.values()), tuple(dict.fromkeys(uncounted))


def _dims(name: str, parameter: Tensor, owners: Mapping[int, Sequence[tuple[int, Group, int]]]) -> list[_Dim]:
    dims = [_Dim(length) for length in parameter.shape]
    for dim, group, width in owners.get(id(parameter), ()):
        dims[dim].owners[group.name] = dims[dim].owners.get(group.name, 0) + width
        dims[dim].fixed -= group.size * width
        if dims[dim].fixed < 0:
            raise ValueError(
                f"{name} {tuple(parameter.shape)}: group {group.name} of {group.size} units, {width} wide, "
                f"does not fit dimension {dim}"
            )
    return dims
