"""What stands on a layer to make a prediction: what every kind has in common."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from ...architectures import first_token, last_token
from ...errors import RecipeError

Reads = Literal["first", "last", "mean", "learned"]


class ExitHead(nn.Module):
    """A classifier on a layer's hidden states: pooling, :meth:`transform`, tanh, dropout, linear.

    A kind of head overrides :meth:`add_layers` and :meth:`transform`, and says in ``hidden_dims`` where its
    parameters count hidden dimensions; :meth:`reset_parameters` too, if it has others than linear layers.

    Args:
        hidden_size: H.
        num_labels: C.
        reads: ``"first"`` or ``"last"`` token that is no padding; ``"mean"`` of these tokens; ``"learned"``:
            their average weighted by the softmax of a learned query, which begins as the mean.
        dropout: before the linear layer, in training.
        initializer_range: standard deviation of the initial weights.

    Attributes:
        hidden_dims: dimensions of its parameters that count hidden dimensions, for a student that is
            narrower than its teacher.
    """

    hidden_dims: ClassVar[dict[str, tuple[int, ...]]] = {"classifier.weight": (1,), "query.weight": (1,)}

    def __init__(
        self,
        hidden_size: int,
        num_labels: int,
        *,
        reads: Reads = "first",
        dropout: float = 0.1,
        initializer_range: float = 0.02,
    ) -> None:
        super().__init__()
        if reads not in get_args(Reads):
            raise ValueError(f"an exit head reads one of {get_args(Reads)}, not {reads!r}")
        self.reads = reads
        self.add_layers(hidden_size)
        self.query = nn.Linear(hidden_size, 1, bias=False) if reads == "learned" else None
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden_size, num_labels)
        self.initializer_range = initializer_range
        self.reset_parameters()

    def add_layers(self, hidden_size: int) -> None:
        """Make the modules that :meth:`transform` needs; none here."""

    def transform(self, read: Tensor) -> Tensor:
        """Between what was read and the tanh: ``[B, H]`` -> ``[B, H]``; here nothing."""
        return read

    def reset_parameters(self) -> None:
        """Draw the initial weights of all linear layers; a learned pooling begins as the mean."""
        for module in self.modules():
            if isinstance(module, nn.Linear) and module is not self.query:
                nn.init.normal_(module.weight, std=self.initializer_range)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.query is not None:
            nn.init.zeros_(self.query.weight)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states ``[B, T, H]``, mask ``[B, T]`` -> logits ``[B, C]``, what it read ``[B, H]``."""
        read = self.pool(hidden, mask)
        return self.classifier(self.dropout(torch.tanh(self.transform(read)))), read

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """What the classifier reads of ``[B, T, H]``: ``[B, H]``."""
        if self.reads in ("first", "last"):
            place = first_token(mask) if self.reads == "first" else last_token(mask)
            return hidden.gather(1, place[:, None, None].expand(-1, 1, hidden.shape[2])).squeeze(1)
        if self.query is None:
            weights = mask.to(hidden.dtype)
            return (hidden * weights[..., None]).sum(1) / weights.sum(1, keepdim=True).clamp_min(1)
        weights = self.query(hidden).float().squeeze(-1)
        weights = weights.masked_fill(mask == 0, torch.finfo(torch.float32).min).softmax(dim=-1)
        return torch.einsum("bt,bth->bh", weights.to(hidden.dtype), hidden)

    def narrowed_state(self, keep: Tensor) -> dict[str, Tensor]:
        """Its state on some of the hidden dimensions alone, int64 ``[H']``.

        Raises:
            RecipeError: ``hidden_dims`` does not say what becomes of a parameter.
        """
        state = {name: tensor.detach() for name, tensor in self.state_dict().items()}
        size = self.classifier.in_features
        for name, tensor in state.items():
            sizes = [dim for dim, length in enumerate(tensor.shape) if length == size]
            if name not in self.hidden_dims and sizes and not name.startswith("classifier."):
                raise RecipeError(
                    f"an exit head {type(self).__name__} cannot be narrowed: its parameter {name} has "
                    f"{size} in {tuple(tensor.shape)}, and hidden_dims does not name it",
                    f"say in {type(self).__name__}.hidden_dims which dimensions are hidden ones, () for none",
                )
        for name, dims in self.hidden_dims.items():
            for dim in dims if name in state else ():
                state[name] = state[name].index_select(dim, keep)
        return state
