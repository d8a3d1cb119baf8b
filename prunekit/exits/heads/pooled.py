"""A pooler of its own."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from . import register
from .base import ExitHead


@register("pooled")
class PooledHead(ExitHead):
    """A dense layer H x H before the tanh, BERT's pooler (DeeBERT, ElasticBERT)."""

    hidden_dims: ClassVar[dict[str, tuple[int, ...]]] = {
        **ExitHead.hidden_dims,
        "dense.weight": (0, 1),
        "dense.bias": (0,),
    }

    def add_layers(self, hidden_size: int) -> None:
        self.dense = nn.Linear(hidden_size, hidden_size)

    def transform(self, read: Tensor) -> Tensor:
        pooled: Tensor = self.dense(read)
        return pooled
