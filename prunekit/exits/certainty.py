"""How sure an exit is that it is right."""

from __future__ import annotations

from torch import Tensor, nn


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
