"""The contract of a model family: where its parts are, and how its layers are run one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import UnsupportedModelError
from ..groups import Slice
from .embedding import FactorizedEmbedding

Context = dict[str, Any]


@dataclass(frozen=True)
class AttentionParts:
    """The projections of one attention block.

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


class Architecture(ABC):
    """One model family. A new family is one subclass of about 40 lines.

    All methods take the bare backbone (``transformers.AutoModel``'s class), not the task model around it.

    Attributes:
        model_types: of the family's configurations.
        causal: whether a token sees only those before it, so that the last one has seen all.
    """

    model_types: ClassVar[tuple[str, ...]]
    causal: ClassVar[bool] = False

    @abstractmethod
    def layers(self, backbone: nn.Module) -> nn.ModuleList:
        """The transformer layers, first to last."""

    @abstractmethod
    def attention(self, layer: nn.Module) -> AttentionParts:
        """The attention projections of a layer."""

    @abstractmethod
    def feed_forward(self, layer: nn.Module) -> FeedForwardParts:
        """The FFN matrices of a layer."""

    @abstractmethod
    def word_embeddings(self, backbone: nn.Module) -> tuple[nn.Module, str]:
        """The module that owns the word embedding, and the attribute it is under."""

    @abstractmethod
    def embed(
        self,
        backbone: nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
    ) -> tuple[Tensor, Context]:
        """Embedding output ``[B, T, H]`` and what every layer takes beside it (mask, positions).

        Args:
            backbone: the model.
            input_ids: int64 ``[B, T]``.
            attention_mask: 1 for tokens, 0 for padding on either side, ``[B, T]``; ``None``: no padding.
            token_type_ids: int64 ``[B, T]``, for families that have segments.
        """

    def run_layer(self, layer: nn.Module, hidden: Tensor, context: Context) -> Tensor:
        """One layer: ``[B, T, H]`` -> ``[B, T, H]``."""
        output = layer(hidden, **context)
        return output[0] if isinstance(output, tuple) else output

    def finish(self, backbone: nn.Module, hidden: Tensor) -> Tensor:
        """What stands between the last layer and a head: the final norm of families that have one.

        ``[B, T, H]`` -> ``[B, T, H]``. An exit on any layer reads through it.
        """
        return hidden

    def sync(self, layer: nn.Module) -> None:  # noqa: B027 - most families have nothing to do here
        """Bring the layer's bookkeeping attributes in line with its present widths."""

    def truncate(self, backbone: Any, num_layers: int) -> None:
        """Drop all layers after the first ``num_layers``, in place."""
        del self.layers(backbone)[num_layers:]
        backbone.config.num_hidden_layers = num_layers

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


def positions_of(attention_mask: Tensor | None) -> Tensor | None:
    """Positions counted from each row's first token, int64 ``[B, T]``, whichever side is padded.

    Padding before it has position 0. ``None`` where there is no mask: positions are those of the row.
    """
    if attention_mask is None:
        return None
    row = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    return (row - first_token(attention_mask)[:, None]).clamp_min(0)


def first_token(attention_mask: Tensor) -> Tensor:
    """Where each row's first token stands that is no padding, int64 ``[B]``."""
    # Of equal values argmax takes the first.
    return attention_mask.to(torch.int64).argmax(dim=1)


def last_token(attention_mask: Tensor) -> Tensor:
    """Where each row's last token stands that is no padding, int64 ``[B]``."""
    return attention_mask.shape[1] - 1 - first_token(attention_mask.flip(1))


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


def select_rows(context: Context, rows: Tensor, batch_size: int) -> Context:
    """The part of a layer context that belongs to some rows of the batch."""

    def pick(value: Any) -> Any:
        if isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == batch_size and batch_size > 1:
            return value[rows]
        if isinstance(value, tuple):
            return tuple(pick(item) for item in value)
        return value

    return {key: pick(value) for key, value in context.items()}
