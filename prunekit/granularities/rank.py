"""The rank of the word embedding."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..architectures import (
    Architecture,
    FactorizedEmbedding,
    architecture_of,
    backbone_of,
    singular_values,
)
from ..architectures.embedding import scale_of
from ..errors import TrainingError, UnsupportedModelError
from ..groups import Group
from . import register
from .base import Granularity


class RankGroup(Group):
    """The ranks of a word embedding, ordered by their singular values."""

    ordered = True

    def __init__(self, architecture: Architecture, backbone: nn.Module) -> None:
        self._owner, self._attribute = architecture.word_embeddings(backbone)
        words = self.words
        self._scale = scale_of(words)
        factorized = isinstance(words, FactorizedEmbedding)
        size = words.rank if isinstance(words, FactorizedEmbedding) else min(words.weight.shape)
        super().__init__("embeddings.rank", "rank", size)
        # An embedding that comes in two factors begins with the rank it has: it was never larger here.
        self.whole = None if factorized else size

    @property
    def words(self) -> nn.Embedding | FactorizedEmbedding:
        """The word embedding as it is now."""
        return getattr(self._owner, self._attribute)

    @property
    def replaces(self) -> tuple[nn.Module, ...]:
        """The word embedding: its factors take its place."""
        return (self.words,)

    @property
    def unit_parameters(self) -> int:
        """A rank owns a column of the first factor and a row of the second."""
        return sum(self.words.weight.shape)

    def intrinsic_importance(self) -> Tensor | None:
        """Singular values of the embedding as it is now, float32 ``[size]``, largest first.

        ``None`` on the meta device, where there are no weights.

        Raises:
            TrainingError: a weight is not finite.
        """
        if self.words.weight.is_meta:
            return None
        return singular_values(self._finite_weight())[: self.size].float().cpu()

    def keep(self, indices: Tensor) -> None:
        """Truncate to the first ``len(indices)`` singular directions of the embedding as it is now.

        Raises:
            TrainingError: a weight is not finite.
        """
        rank = self.checked(indices).numel()
        if rank == self.size:
            return
        words = self.words
        inner = words.embedding if isinstance(words, FactorizedEmbedding) else words
        weight = self._finite_weight()
        new = FactorizedEmbedding.from_weight(weight, rank, inner.padding_idx, self._scale)
        new.train(words.training).requires_grad_(inner.weight.requires_grad)
        setattr(self._owner, self._attribute, new)
        self.size = rank

    def _finite_weight(self) -> Tensor:
        weight = self.words.weight.detach()
        if not weight.is_meta and not bool(weight.isfinite().all()):
            raise TrainingError(
                f"{self.name}: the word embedding has weights that are not finite, and no singular values",
                "the training before went wrong, or the checkpoint is damaged: look at its loss",
            )
        return weight


@register("rank")
class EmbeddingRank(Granularity):
    """Rank of the word embedding, by truncated SVD: V x H becomes (V x R)(R x H).

    The units are singular directions and rank themselves by singular value, so a scorer is not asked
    (COST-EFF, Eq. 1; Eckart and Young, 1936).
    """

    def groups(self, model: nn.Module) -> list[Group]:
        config = getattr(model, "config", None)
        find_output: Any = getattr(model, "get_output_embeddings", lambda: None)
        if find_output() is not None and getattr(config, "tie_word_embeddings", False):
            raise UnsupportedModelError(
                "the word embedding is tied to the output matrix, so it cannot be factorised alone",
                "untie them (config.tie_word_embeddings = False) or leave the granularity 'rank' out",
            )
        group = RankGroup(architecture_of(model), backbone_of(model))
        # An output matrix that is tied no longer keeps the weights that it has.
        inside = [(name, module) for name, module in model.named_modules() if module is not find_output()]
        owners = [name for name, module in inside if _owns(module, group.words.weight)]
        if len(owners) > 1:
            raise UnsupportedModelError(
                f"the word embedding is shared by {', '.join(owners)}, so it cannot be factorised alone",
                "leave the granularity 'rank' out",
            )
        return [group]


def _owns(module: nn.Module, weight: Tensor) -> bool:
    return vars(module).get("_parameters", {}).get("weight") is weight
