"""The teacher's predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from ...arguments import flag, number
from . import register
from .base import Loss, answers, exit_logits
from .functional import prediction_loss

if TYPE_CHECKING:
    from ...exits import MultiExitOutput
    from ..teachers import TeacherOutput


@register("predictions")
class Predictions(Loss):
    """Soft cross-entropy of every exit with the teacher's same exit (COST-EFF, Eq. 4), or its last one.

    Args:
        temperature: divides the logits of both.
        final: every exit learns from the teacher's last exit; so it does where the teacher has but one.
    """

    label: ClassVar[str] = "predictions"

    def __init__(self, temperature: float = 1.0, final: bool = False) -> None:
        self.temperature = number(temperature, "predictions.temperature", above=0)
        self.final = flag(final, "predictions.final")

    def __call__(
        self, output: MultiExitOutput, taught: TeacherOutput | None, batch: Mapping[str, Any]
    ) -> Tensor:
        said = answers(taught)
        target = said.logits if self.final or len(said.exit_logits) == 1 else said.exit_logits
        return prediction_loss(exit_logits(output), target, self.temperature, "none")
