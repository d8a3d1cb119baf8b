"""What the stages have in common in which a model learns from one of the same depth and width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import Field, model_validator

from ..data import AugmentationConfig
from .base import Stage, StageConfig
from .further_losses import FurtherLosses, checked_terms, further_terms

if TYPE_CHECKING:
    from ..distill import Teacher
    from ..recipes import Recipe
    from .training.objectives import Objective, Term


# Settings that every stage with a teacher means alike.
StudentDropout = Annotated[
    float | None,
    Field(ge=0, lt=1, description="the student's dropout while it is taught; its own when omitted"),
]
CacheChoice = Annotated[
    Literal["auto", "on", "off"],
    Field(
        description="keep the teacher's answers to all training examples on disk, so that it runs once; "
        "auto: where the disk has room",
    ),
]
CachePrecision = Annotated[
    Literal["float32", "float16"],
    Field(description="of the hidden states kept there; float16 takes half the room"),
]
AugmentationChoice = Annotated[
    AugmentationConfig | None,
    Field(
        description="train on copies of the training examples too, which have the teacher's answers and no "
        "labels; an epoch stays as many examples as there are for training",
    ),
]


class Taught(Protocol):
    """What the settings of every stage with a teacher say."""

    @property
    def teacher(self) -> str:
        """Its role."""

    @property
    def cache(self) -> Literal["auto", "on", "off"]:
        """Whether its answers are kept on disk."""

    @property
    def cache_precision(self) -> Literal["float32", "float16"]:
        """Of the hidden states there."""


def require_answers(
    augmentation: AugmentationConfig | None, further: Sequence[Term], *weights: float
) -> None:
    """Raise ``ValueError`` where copies would teach nothing: no loss with a weight reads the teacher.

    Args:
        augmentation: makes the copies.
        further: losses beside the built-in ones.
        weights: of the built-in losses that read it.
    """
    taught = any(weights) or any(term.weight and term.loss.needs_teacher for term in further)
    if augmentation is not None and not taught:
        raise ValueError(
            "augmentation makes copies without labels, and nothing of the teacher's has a weight: they would "
            "teach nothing"
        )


class DistillationConfig(StageConfig):
    """Who teaches, and what is learned."""

    teacher: Literal["assistant", "original"] = Field(
        "assistant",
        description="who teaches; the original has one exit, whose prediction it teaches every exit",
    )
    features: float = Field(1.0, ge=0, description="weight of the hidden states' mean squared error (Eq. 5)")
    predictions: float = Field(
        1.0, ge=0, description="weight of the soft cross-entropy, exit by exit (Eq. 4)"
    )
    ground_truth: float = Field(0.0, ge=0, description="weight of the cross-entropy with the labels")
    losses: FurtherLosses = Field(default_factory=list)
    temperature: float = Field(1.0, gt=0, description="divides the logits of both in the soft cross-entropy")
    gradient_equilibrium: bool = Field(True, description="balance the exits' gradients (Eq. 3) in training")
    dropout: StudentDropout = None
    augmentation: AugmentationChoice = None
    cache: CacheChoice = "auto"
    cache_precision: CachePrecision = "float32"

    @model_validator(mode="after")
    def _copies_teach(self) -> DistillationConfig:
        further = checked_terms(self, self.losses)
        require_answers(self.augmentation, further, self.features, self.predictions)
        return self

    def require_losses(self) -> None:
        """Raise ``ValueError`` if no loss has a weight."""
        if not self.has_losses:
            raise ValueError("features, predictions and ground_truth are all 0: nothing is left to learn")

    @property
    def has_losses(self) -> bool:
        """Whether something has a weight."""
        own = (self.features, self.predictions, self.ground_truth)
        return any(own) or any(term.weight for term in self.further())

    @property
    def by_layer(self) -> bool:
        """Whether a loss that is counted by layer has a weight."""
        return bool(self.features) or any(t.weight and t.loss.unit == "layer" for t in self.further())

    def further(self, since: float = 0.0) -> list[Term]:
        """The losses beside the built-in ones, in order; those by exit count from ``since`` on."""
        return further_terms(self.losses, since)

    def objective(self, teacher: Teacher, since: float = 0.0) -> Objective:
        """All that is weighted; predictions and labels count from a part of the training run on."""
        from .training.objectives import Objective, features, predictions, truth

        return Objective(
            [
                features(self.features),
                predictions(self.predictions, self.temperature, since=since),
                truth(self.ground_truth, since=since),
                *self.further(since),
            ],
            teacher,
        )


class DistillationStage(Stage):
    """A stage whose model learns from the assistant, or from the original: ``config.teacher`` says which."""

    needs = ("model", "assistant")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.needs = ("model", config.teacher)

    def inputs(self, recipe: Recipe, key: str) -> dict[str, Any]:
        """Without the recipe's exits: the model has its own."""
        return {**super().inputs(recipe, key), "exits": None}
