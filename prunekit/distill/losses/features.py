"""The teacher's hidden states, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor

from . import register
from .base import Loss, answers, states
from .functional import feature_loss

if TYPE_CHECKING:
    from ...exits import MultiExitOutput
    from ..teachers import TeacherOutput


@register("features")
class Features(Loss):
    """Mean squared error of the embedding output and every layer's hidden states (COST-EFF, Eq. 5)."""

    label: ClassVar[str] = "features"
    unit: ClassVar[Literal["exit", "layer"]] = "layer"
    first: ClassVar[int] = 0
    needs_hidden_states: ClassVar[bool] = True

    def __call__(
        self, output: MultiExitOutput, taught: TeacherOutput | None, batch: Mapping[str, Any]
    ) -> Tensor:
        return feature_loss(states(output), states(answers(taught)), batch["attention_mask"], "none")
