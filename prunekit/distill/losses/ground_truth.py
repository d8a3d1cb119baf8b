"""The labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from ...arguments import one_of
from . import register
from .base import Loss, exit_logits
from .functional import truth_loss

if TYPE_CHECKING:
    from ...exits import MultiExitOutput
    from ..teachers import TeacherOutput

ExitWeights = Literal["equal", "layer"]


@register("ground_truth")
class GroundTruth(Loss):
    """Cross-entropy of every exit with the labels.

    Args:
        exit_weights: ``"equal"``: the sum over the exits; ``"layer"``: ``sum i * L_i / sum i``, i the exit's
            place from 1 (Zhou et al., "BERT Loses Patience", NeurIPS 2020).
    """

    label: ClassVar[str] = "ground truth"
    needs_teacher: ClassVar[bool] = False

    def __init__(self, exit_weights: ExitWeights = "equal") -> None:
        one_of(exit_weights, "ground_truth.exit_weights", ("equal", "layer"))
        self.exit_weights = exit_weights

    def __call__(
        self, output: MultiExitOutput, taught: TeacherOutput | None, batch: Mapping[str, Any]
    ) -> Tensor:
        losses = truth_loss(exit_logits(output), batch["labels"], "none")
        if self.exit_weights == "equal":
            return losses
        places = torch.arange(1, len(losses) + 1, device=losses.device, dtype=losses.dtype)
        return losses * places / places.sum()
