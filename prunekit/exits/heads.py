"""What stands on a layer to make a prediction."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

HeadKind = Literal["linear", "pooled"]
Reads = Literal["first", "mean", "learned"]


class ExitHead(nn.Module):
    """A classifier on a layer's hidden states.

    Args:
        hidden_size: H.
        num_labels: C.
        kind: ``"linear"``: tanh, dropout, linear (COST-EFF, no pooler); ``"pooled"``: a dense H x H before
            the tanh (BERT's pooler, DeeBERT).
        reads: ``"first"`` token; ``"mean"`` of the unpadded tokens; ``"learned"``: their average weighted by
            the softmax of a learned query, which begins as the mean.
        dropout: before the linear layer, in training.
        initializer_range: standard deviation of the initial weights.
    """

    def __init__(
        self,
        hidden_size: int,
        num_labels: int,
        *,
        kind: HeadKind = "linear",
        reads: Reads = "first",
        dropout: float = 0.1,
        initializer_range: float = 0.02,
    ) -> None:
        super().__init__()
        if kind not in get_args(HeadKind) or reads not in get_args(Reads):
            known = f"{get_args(HeadKind)}, reading {get_args(Reads)}"
            raise ValueError(f"an exit head is one of {known}, not {kind!r}, reading {reads!r}")
        self.reads = reads
        self.dense = nn.Linear(hidden_size, hidden_size) if kind == "pooled" else None
        self.query = nn.Linear(hidden_size, 1, bias=False) if reads == "learned" else None
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden_size, num_labels)
        self.initializer_range = initializer_range
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial weights; a learned pooling begins as the mean."""
        for linear in (self.dense, self.classifier):
            if linear is not None:
                nn.init.normal_(linear.weight, std=self.initializer_range)
                nn.init.zeros_(linear.bias)
        if self.query is not None:
            nn.init.zeros_(self.query.weight)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states ``[B, T, H]``, mask ``[B, T]`` -> logits ``[B, C]``, what it read ``[B, H]``."""
        read = self.pool(hidden, mask)
        pooled = read if self.dense is None else self.dense(read)
        return self.classifier(self.dropout(torch.tanh(pooled))), read

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """What the classifier reads of ``[B, T, H]``: ``[B, H]``."""
        if self.reads == "first":
            return hidden[:, 0]
        if self.query is None:
            weights = mask.to(hidden.dtype)
            return (hidden * weights[..., None]).sum(1) / weights.sum(1, keepdim=True).clamp_min(1)
        weights = self.query(hidden).float().squeeze(-1)
        weights = weights.masked_fill(mask == 0, torch.finfo(torch.float32).min).softmax(dim=-1)
        return torch.einsum("bt,bth->bh", weights.to(hidden.dtype), hidden)


class ExitCertainty(nn.Module):
    """How sure an exit is that it is right: one linear layer for all exits (BERxiT, section 4).

    It begins undecided, with 0.5 for everything.

    Args:
        hidden_size: H.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As at the beginning."""
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, read: Tensor) -> Tensor:
        """What exits read, ``[..., H]`` -> 0 to 1, ``[...]``."""
        certainty: Tensor = self.linear(read).squeeze(-1).sigmoid()
        return certainty
