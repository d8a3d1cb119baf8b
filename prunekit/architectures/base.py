"""The contract of a model family: where its parts are, and how its layers are run one by one."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor, nn

from ..errors import UnsupportedModelError, first_line
from ..groups import Slice
from .blocks import Block, Fused, Kind, attention_block, child, find_blocks, is_experts, multiplies
from .embedding import FactorizedEmbedding
from .recording import Context, positions_of, recorded_inputs


@dataclass(frozen=True)
class AttentionParts:
    """The projections of one attention block, where each has a matrix of its own.

    ``query`` has ``num_attention_heads * head_dim`` output rows, ``key`` and ``value``
    ``num_key_value_heads * head_dim``; ``output`` has as many input columns as ``query`` has rows.
    """

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    output: nn.Linear
    head_dim: int

    @property
    def num_attention_heads(self) -> int:
        """Query heads there are now."""
        return self.query.out_features // self.head_dim

    @property
    def num_key_value_heads(self) -> int:
        """Key/value heads there are now; fewer than query heads where queries are grouped."""
        return self.key.out_features // self.head_dim


@dataclass(frozen=True)
class FeedForwardParts:
    """The matrices of one FFN: one input matrix, or gate and up where it is gated, and the output."""

    inputs: tuple[nn.Linear, ...]
    output: nn.Linear


@dataclass(frozen=True)
class Place:
    """A block and where it is.

    Attributes:
        name: unique in the model, e.g. ``"layers.3"`` or ``"decoder.layers.3.encoder_attn"``.
        layer: index in its stack (0-based); ``None`` for what several layers share.
        stack: path of the stack, e.g. ``"encoder.layers"``.
        block: what is there.
    """

    name: str
    layer: int | None
    stack: str
    block: Block


class Architecture:
    """One model family. A new family is one subclass, which says what structure alone does not show.

    Attention and FFN are recognised by the names and shapes of their matrices (:mod:`.blocks`), and inputs of
    layers are those that the model itself gives them (:mod:`.recording`). Methods take the bare backbone
    (``transformers.AutoModel``'s class), not the task model around it.

    Attributes:
        model_types: of the family's configurations.
        stack_paths: where the lists of layers are; the first that a backbone has is the one that exits stand
            on. Empty: they are looked for.
        causal: whether a token sees only those before it, so that the last one has seen all.
        fused: how one matrix holds queries, keys and values, see :func:`~.blocks.attention_block`.
        head_rows: further matrices of an attention whose outputs the heads own.
        reads_config: numbers of heads that an attention reads from its configuration when it is called.
        widths: attributes of an attention, beside the usual ones, that are the width of all its heads.
        norm_path: the norm after the last layer, below :meth:`encoder`; ``""``: there is none.
    """

    model_types: ClassVar[tuple[str, ...]] = ()
    stack_paths: ClassVar[tuple[str, ...]] = ()
    causal: bool = False
    fused: Fused = "blocks"
    head_rows: ClassVar[tuple[str, ...]] = ()
    reads_config: tuple[str, ...] = ()
    widths: tuple[str, ...] = ()
    norm_path: str = ""

    def stacks(self, backbone: nn.Module) -> dict[str, Sequence[nn.Module]]:
        """The lists of layers by their paths, in the order of the modules."""
        return {path: found for path in self.stack_paths if (found := child(backbone, path)) is not None}  # type: ignore[misc]

    def layers(self, backbone: nn.Module) -> Sequence[nn.Module]:
        """The layers that exits stand on, first to last."""
        return next(iter(self.stacks(backbone).values()))

    def blocks(self, layer: nn.Module) -> list[Block]:
        """Attention and FFN of a layer."""
        return list(find_blocks(layer, self.attention_block))

    def attention_block(self, module: nn.Module, parent: nn.Module | None) -> Block | None:
        """The attention that a module holds, if it does."""
        return attention_block(
            module,
            parent,
            fused=self.fused,
            also=self.head_rows,
            reads_config=self.reads_config,
            widths=self.widths,
        )

    def check(self, backbone: nn.Module, kind: Kind) -> None:
        """Refuse what cannot be removed from a model of the family, before anything is.

        Raises:
            UnsupportedModelError: units of this kind cannot be removed; it says why.
        """

    def check_text(self, backbone: nn.Module) -> None:
        """Refuse exits on what does not encode texts, before any is made.

        Raises:
            UnsupportedModelError: it takes no ``input_ids``, or something else beside them.
        """
        takes = inspect.signature(self.encoder(backbone).forward).parameters
        others = [name for name in takes if name in ("pixel_values", "input_values", "input_features")]
        if "input_ids" not in takes or others:
            what = others[0] if others else next(iter(takes), "nothing")
            raise UnsupportedModelError(
                f"{type(backbone).__name__} takes {what}: exits read texts, by their input_ids alone",
                "give a model of texts, or the part of this one that encodes them",
            )

    def places(self, backbone: nn.Module) -> Iterator[Place]:
        """Every attention and FFN of the backbone, once: layers that share their weights are one place."""
        stacks = self.stacks(backbone)
        seen: set[nn.Module] = set()
        for path, layers in stacks.items():
            head = f"{path.rpartition('.')[0]}." if len(stacks) > 1 else ""
            for index, layer in enumerate(layers):
                if layer in seen:
                    continue
                seen.add(layer)
                blocks = self.blocks(layer)
                for block in blocks:
                    alone = sum(other.kind == block.kind for other in blocks) == 1
                    name = f"{head}layers.{index}" + ("" if alone else f".{block.path}")
                    yield Place(name, index, path, block)

    def attention(self, layer: nn.Module) -> AttentionParts:
        """The attention projections of a layer.

        Raises:
            UnsupportedModelError: one matrix holds several of them, or there are several attentions.
        """
        block = self._only(layer, "attention")
        if len(block.inputs) != 3:
            raise UnsupportedModelError(
                f"{type(block.module).__name__} holds queries, keys and values in one matrix, which this "
                "does not know how to take apart"
            )
        query, key, value = block.inputs
        return AttentionParts(query, key, value, block.output, block.head_dim)  # type: ignore[arg-type]

    def feed_forward(self, layer: nn.Module) -> FeedForwardParts:
        """The FFN matrices of a layer.

        Raises:
            UnsupportedModelError: there are several FFNs.
        """
        block = self._only(layer, "ffn")
        return FeedForwardParts(block.inputs, block.output)  # type: ignore[arg-type]

    def word_embeddings(self, backbone: Any) -> tuple[nn.Module, str]:
        """The module that owns the word embedding, and the attribute it is under.

        Raises:
            UnsupportedModelError: the model has none.
        """
        try:
            words = backbone.get_input_embeddings()
        except (AttributeError, NotImplementedError):
            words = None
        if isinstance(words, (nn.Embedding, FactorizedEmbedding)):
            for owner in backbone.modules():
                for name, module in owner.named_children():
                    if module is words:
                        return owner, name
        raise UnsupportedModelError(
            f"{type(backbone).__name__} has no word embedding", "leave the granularity 'rank' out"
        )

    def embed(self, backbone: nn.Module, inputs: Mapping[str, Any]) -> tuple[Tensor, list[Context]]:
        """Embedding output ``[B, T, H]``, and what each layer takes beside it (masks, positions).

        Args:
            backbone: the model.
            inputs: ``input_ids``, int64 ``[B, T]``; ``attention_mask``, 1 for tokens, 0 for padding on either
                side, ``[B, T]``, or ``None``; ``token_type_ids``, int64 ``[B, T]``, where there are segments.
        """
        path = next(iter(self.stacks(backbone)))
        positions = self.positions(backbone, inputs.get("attention_mask"))
        return recorded_inputs(self.encoder(backbone), self._inside(backbone, path), inputs, positions)

    def positions(self, backbone: nn.Module, attention_mask: Tensor | None) -> Tensor | None:
        """Positions of the tokens, int64 ``[B, T]``; ``None`` where the model counts them by itself.

        It does without a mask, and where its table has a place for padding.
        """
        tables = (m for name, m in backbone.named_modules() if name.endswith("position_embeddings"))
        counts = any(getattr(table, "padding_idx", None) is not None for table in tables)
        return None if counts else positions_of(attention_mask)

    def encoder(self, backbone: nn.Module) -> nn.Module:
        """What runs the layers that exits stand on: the backbone, or its encoder where it has a decoder."""
        decodes = getattr(getattr(backbone, "config", None), "is_encoder_decoder", False)
        found = child(backbone, "encoder") if decodes else None
        return backbone if found is None else found

    def run_layer(self, layer: nn.Module, hidden: Tensor, context: Context) -> Tensor:
        """One layer: ``[B, T, H]`` -> ``[B, T, H]``."""
        output = layer(hidden, **context)
        return output[0] if isinstance(output, tuple) else output

    def finish(self, backbone: nn.Module, hidden: Tensor) -> Tensor:
        """What stands between the last layer and a head: the final norm of families that have one.

        ``[B, T, H]`` -> ``[B, T, H]``. An exit on any layer reads through it.
        """
        norm = child(self.encoder(backbone), self.norm_path) if self.norm_path else None
        return hidden if norm is None else norm(hidden)

    def finishes(self, backbone: nn.Module) -> bool:
        """Whether :meth:`finish` does anything."""
        changed = type(self).finish is not Architecture.finish
        return changed or bool(self.norm_path and child(self.encoder(backbone), self.norm_path) is not None)

    def prepare(self, backbone: Any) -> Any:
        """What exits stand on: without what they have no use for, a pooler or a decoder."""
        encoder: Any = self.encoder(backbone)
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None
        return encoder

    def uses(self, backbone: nn.Module, tokens: int) -> dict[nn.Module, float]:
        """How often one example of ``tokens`` tokens multiplies by the weights of each module.

        Experts are used by as many tokens as the router sends to them on average. A pooler is in it as if it
        read every token; who counts costs knows better.
        """
        found: dict[nn.Module, float] = {m: tokens for m in backbone.modules() if multiplies(m)}
        times = Counter(layer for layers in self.stacks(backbone).values() for layer in layers)
        for layer, count in times.items():
            for module in layer.modules():
                if module in found:
                    found[module] = tokens * count
                elif is_experts(module):
                    experts, config = (
                        len(module.get_parameter("down_proj")),
                        getattr(backbone, "config", None),
                    )
                    found[module] = tokens * count * getattr(config, "num_experts_per_tok", 1) / experts
        return found

    def pairs(self, backbone: nn.Module, tokens: int) -> dict[nn.Module, float]:
        """Pairs of a query and a key of one example in each attention: its output matrix -> pairs."""
        times = Counter(layer for layers in self.stacks(backbone).values() for layer in layers)
        return {
            block.output: tokens * tokens * count
            for layer, count in times.items()
            for block in self.blocks(layer)
            if block.kind == "attention"
        }

    def truncate(self, backbone: Any, num_layers: int) -> None:
        """Drop all layers after the first ``num_layers``, in place.

        Raises:
            UnsupportedModelError: the family's configuration cannot have so many.
        """
        shorten(backbone.config, num_layers)
        del self.layers(backbone)[num_layers:]  # type: ignore[attr-defined]

    def residual_slices(self, backbone: nn.Module) -> list[Slice]:
        """Every dimension of a parameter that is as wide as the hidden states, the whole backbone's.

        Raises:
            UnsupportedModelError: the family does not say.
        """
        raise UnsupportedModelError(
            f"{type(self).__name__}'s hidden size cannot be narrowed: the adapter has no residual_slices",
            "leave hidden_size out, or start from another checkpoint: name=...",
        )

    def resize(self, config: Any, hidden_size: int, num_attention_heads: int, num_layers: int) -> None:
        """Write other sizes into a configuration, in place."""
        config.hidden_size = hidden_size
        config.num_attention_heads = num_attention_heads
        config.num_hidden_layers = num_layers

    def attention_scores(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        """Scores before the softmax and before the mask, ``Q K^T / sqrt(d)``: ``[B, A, T, T]``.

        Args:
            layer: one of :meth:`layers`.
            hidden: what the layer is given, ``[B, T, H]``.

        Raises:
            UnsupportedModelError: the family does not say.
        """
        raise UnsupportedModelError(
            f"{type(self).__name__}'s attention cannot be compared: the adapter has no attention_scores",
            "set the weight of attention to 0",
        )

    def _only(self, layer: nn.Module, kind: str) -> Block:
        found = [block for block in self.blocks(layer) if block.kind == kind]
        if len(found) != 1:
            raise UnsupportedModelError(f"{type(layer).__name__} has {len(found)} blocks of {kind}, not one")
        return found[0]

    def _inside(self, backbone: nn.Module, path: str) -> str:
        """A path of the backbone, below :meth:`encoder`."""
        encoder = self.encoder(backbone)
        prefix = next(name for name, module in backbone.named_modules() if module is encoder)
        return path.removeprefix(f"{prefix}.") if prefix else path


class PostNormEncoder(Architecture):
    """BERT's kind: attention reads the hidden states as they are, and norms follow what is added to them."""

    def residual_slices(self, backbone: Any) -> list[Slice]:
        """Embeddings and norms, what attention and FFN read, and what they write."""
        slices = table_slices(self.word_embeddings(backbone)[0])
        for layer in self.layers(backbone):
            attention, ffn = self.attention(layer), self.feed_forward(layer)
            readers = (attention.query, attention.key, attention.value, *ffn.inputs)
            slices += [Slice(reader, "weight", 1) for reader in readers]
            for writer in (attention.output, ffn.output):
                slices += [Slice(writer, name, 0) for name, _ in writer.named_parameters()]
            slices += table_slices(layer)
        return slices

    def attention_scores(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        """From the layer's input alone, whichever way attention itself is computed."""
        parts = self.attention(layer)
        query, key = (
            matrix(hidden).unflatten(-1, (-1, parts.head_dim)).transpose(1, 2)
            for matrix in (parts.query, parts.key)
        )
        return query @ key.transpose(-1, -2) * parts.head_dim**-0.5


def shared_heads(places: Iterable[Place], name: str, owned: Sequence[Slice] = ()) -> Iterator[Place]:
    """Places whose attentions lose the same heads, as one; all others as they are.

    Args:
        places: of one stack.
        name: of the one place that takes the attentions' places.
        owned: what the heads own beside what they have in each layer.
    """
    every = list(places)
    heads = [place.block for place in every if place.block.kind == "attention"]
    if heads:
        first = heads[0]
        whole = replace(
            first,
            slices=[*(piece for block in heads for piece in block.slices), *owned],
            gates=[gate for block in heads for gate in block.gates],
            counts={key: each for block in heads for key, each in block.counts.items()},
        )
        yield Place(name, None, every[0].stack, whole)
    yield from (place for place in every if place.block.kind != "attention")


def shorten(config: Any, num_layers: int) -> None:
    """Write another number of layers into a configuration, and into what it says of each, in place.

    Raises:
        UnsupportedModelError: it then contradicts itself.
    """
    for name, value in vars(config).items():
        if name.endswith("layer_types") and isinstance(value, list):
            setattr(config, name, value[:num_layers])
    config.num_hidden_layers = num_layers
    try:
        type(config).from_dict(config.to_dict())
    except Exception as error:  # whatever the configuration's class raises
        raise UnsupportedModelError(
            f"{type(config).__name__} cannot have {num_layers} layers: {first_line(error)}",
            "have the last exit on the last layer",
        ) from error


def table_slices(module: nn.Module) -> list[Slice]:
    """The hidden dimension in all look-up tables and norms of a module."""
    slices: list[Slice] = []
    factors = {part.embedding for part in module.modules() if isinstance(part, FactorizedEmbedding)}
    for part in module.modules():
        if isinstance(part, FactorizedEmbedding):
            slices.append(Slice(part.projection, "weight", 0))
        elif isinstance(part, nn.Embedding) and part not in factors:
            slices.append(Slice(part, "weight", 1))
        elif isinstance(part, nn.LayerNorm):
            slices += [Slice(part, name, 0) for name, _ in part.named_parameters()]
    return slices
