"""The contract of a model family: where its parts are, and how its layers are run one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

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
    """

    model_types: ClassVar[tuple[str, ...]]

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
        attention_mask: Tensor,
        token_type_ids: Tensor | None,
    ) -> tuple[Tensor, Context]:
        """Embedding output ``[B, T, H]`` and what every layer takes beside it (mask, positions)."""

    def run_layer(self, layer: nn.Module, hidden: Tensor, context: Context) -> Tensor:
        """One layer: ``[B, T, H]`` -> ``[B, T, H]``."""
        output = layer(hidden, **context)
        return output[0] if isinstance(output, tuple) else output

    def sync(self, layer: nn.Module) -> None:  # noqa: B027 - most families have nothing to do here
        """Bring the layer's bookkeeping attributes in line with its present widths."""

    def truncate(self, backbone: Any, num_layers: int) -> None:
        """Drop all layers after the first ``num_layers``, in place."""
        del self.layers(backbone)[num_layers:]
        backbone.config.num_hidden_layers = num_layers


def select_rows(context: Context, rows: Tensor, batch_size: int) -> Context:
    """The part of a layer context that belongs to some rows of the batch."""

    def pick(value: Any) -> Any:
        if isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == batch_size and batch_size > 1:
            return value[rows]
        if isinstance(value, tuple):
            return tuple(pick(item) for item in value)
        return value

    return {key: pick(value) for key, value in context.items()}
