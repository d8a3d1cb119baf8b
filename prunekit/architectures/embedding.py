"""A word embedding in two factors, and the truncated SVD that makes it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import UnsupportedModelError


class FactorizedEmbedding(nn.Module):
    """Word embedding as ``(V x R)(R x H)`` without bias (COST-EFF, Eq. 1).

    Args:
        vocab_size: V, rows of the first factor.
        rank: R.
        embedding_size: H, columns of the second factor.
        padding_idx: as in ``nn.Embedding``.
        scale: what the product is multiplied by when it is looked up, as some families do.
    """

    def __init__(
        self,
        vocab_size: int,
        rank: int,
        embedding_size: int,
        padding_idx: int | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.embedding = nn.Embedding(vocab_size, rank, padding_idx=padding_idx)
        self.projection = nn.Linear(rank, embedding_size, bias=False)

    @property
    def rank(self) -> int:
        """R."""
        return self.projection.in_features

    @property
    def weight(self) -> Tensor:
        """The product of the factors, ``[V, H]``."""
        return self.embedding.weight @ self.projection.weight.T

    def forward(self, input_ids: Tensor) -> Tensor:
        """int64 ``[...]`` -> ``[..., H]``."""
        found = self.projection(self.embedding(input_ids))
        return found if self.scale == 1 else found * self.scale

    @classmethod
    def from_weight(
        cls, weight: Tensor, rank: int, padding_idx: int | None = None, scale: float = 1.0
    ) -> FactorizedEmbedding:
        """The best approximation of ``weight`` ``[V, H]`` of the given rank (Eckart-Young)."""
        first, second = truncated_svd(weight, rank)
        with torch.device("meta"):  # no random weights, only to be thrown away
            new = cls(weight.shape[0], rank, weight.shape[1], padding_idx, scale)
        new.embedding.weight = nn.Parameter(first)
        new.projection.weight = nn.Parameter(second.T.contiguous())
        return new


def scale_of(words: nn.Embedding | FactorizedEmbedding) -> float:
    """What an embedding multiplies its rows by when they are looked up.

    Raises:
        UnsupportedModelError: it does something else with them.
    """
    if isinstance(words, FactorizedEmbedding):
        return words.scale
    if type(words).forward is nn.Embedding.forward:
        return 1.0
    for name in ("scalar_embed_scale", "embed_scale"):
        scale = getattr(words, name, None)
        if isinstance(scale, (int, float)):
            return float(scale)
    raise UnsupportedModelError(
        f"the word embedding is a {type(words).__name__}, which does more than look rows up",
        "leave the granularity 'rank' out",
    )


def _eigen(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Squared singular values, largest first, and right singular vectors of ``weight`` ``[M, N]``, M >= N.

    From the N x N Gram matrix in float64: a full SVD would form an M x M matrix, for a vocabulary of
    30,522 over 7 GB.
    """
    doubled = weight.detach().to(torch.float64)
    values, vectors = torch.linalg.eigh(doubled.T @ doubled)
    return values.flip(0).clamp_min(0), vectors.flip(1)


def singular_values(weight: Tensor) -> Tensor:
    """Singular values of ``[V, H]``, largest first, float64 ``[min(V, H)]``."""
    tall = weight if weight.shape[0] >= weight.shape[1] else weight.T
    return _eigen(tall)[0].sqrt()


def truncated_svd(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Factors ``U S`` ``[V, R]`` and ``Vt`` ``[R, H]`` of the best rank-R approximation of ``[V, H]``.

    Raises:
        ValueError: rank outside 1..min(V, H).
    """
    full = min(weight.shape)
    if not 1 <= rank <= full:
        raise ValueError(f"rank {rank} is outside 1..{full} for an embedding of shape {tuple(weight.shape)}")
    weight = weight.detach()
    if weight.shape[0] >= weight.shape[1]:
        basis = _eigen(weight)[1][:, :rank].to(weight.dtype)
        return weight @ basis, basis.T
    basis = _eigen(weight.T)[1][:, :rank].to(weight.dtype)
    scaled = basis.T @ weight
    norms = scaled.norm(dim=1).clamp_min(torch.finfo(weight.dtype).tiny)
    return basis * norms, scaled / norms[:, None]
