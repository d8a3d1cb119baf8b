"""Losses between a student and a teacher of other depth or width: TinyBERT's and DistilBERT's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor

from . import register
from .base import Loss, Match, answers, states
from .functional import attention_loss, cosine_loss, feature_loss

if TYPE_CHECKING:
    from ...exits import MultiExitOutput
    from ..teachers import TeacherOutput


class MatchedLoss(Loss):
    """A loss of hidden states, through a match."""

    unit: ClassVar[Literal["exit", "layer"]] = "layer"
    needs_hidden_states: ClassVar[bool] = True
    needs_match: ClassVar[bool] = True

    def __call__(
        self, output: MultiExitOutput, taught: TeacherOutput | None, batch: Mapping[str, Any]
    ) -> Tensor:
        if self.match is None:
            raise ValueError("nothing says which layers are compared: set match")
        return self.of_states(self.match, states(output), states(answers(taught)), batch["attention_mask"])

    @abstractmethod
    def of_states(
        self, match: Match, own: Sequence[Tensor], taught: Sequence[Tensor], mask: Tensor
    ) -> Tensor:
        """The loss of the student's and the teacher's hidden states."""


@register("embeddings")
class Embeddings(MatchedLoss):
    """Mean squared error of the embedding output (TinyBERT, Eq. 9)."""

    label: ClassVar[str] = "embeddings"
    projections: ClassVar[tuple[str, ...]] = ("embeddings",)

    def of_states(
        self, match: Match, own: Sequence[Tensor], taught: Sequence[Tensor], mask: Tensor
    ) -> Tensor:
        return feature_loss([match.widened("embeddings", own[0])], [taught[0]], mask)


@register("hidden")
class Hidden(MatchedLoss):
    """Mean squared error of every layer's hidden states with its teacher layer's (TinyBERT, Eq. 8)."""

    label: ClassVar[str] = "hidden"
    projections: ClassVar[tuple[str, ...]] = ("hidden",)

    def of_states(
        self, match: Match, own: Sequence[Tensor], taught: Sequence[Tensor], mask: Tensor
    ) -> Tensor:
        wide = [match.widened("hidden", state) for state in own[1:]]
        return feature_loss(wide, [taught[number] for number in match.layers], mask, "none")


@register("attention")
class Attention(MatchedLoss):
    """Mean squared error of every layer's attention scores before the softmax (TinyBERT, Eq. 7)."""

    label: ClassVar[str] = "attention"

    def of_states(
        self, match: Match, own: Sequence[Tensor], taught: Sequence[Tensor], mask: Tensor
    ) -> Tensor:
        return attention_loss(*match.attention_scores(own, taught), mask, "none")


@register("cosine")
class Cosine(MatchedLoss):
    """Angle between the last layer's hidden states and its teacher layer's (DistilBERT, section 3)."""

    label: ClassVar[str] = "cosine"
    unit: ClassVar[Literal["exit", "layer"]] = "exit"
    projections: ClassVar[tuple[str, ...]] = ("hidden",)

    def of_states(
        self, match: Match, own: Sequence[Tensor], taught: Sequence[Tensor], mask: Tensor
    ) -> Tensor:
        return cosine_loss(match.widened("hidden", own[-1]), taught[match.layers[-1]], mask)
