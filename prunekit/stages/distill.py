"""Distillation into a student of other depth and width: one phase of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field, model_validator

from . import register
from .base import StageConfig, StageContext
from .distillation import (
    AugmentationChoice,
    CacheChoice,
    CachePrecision,
    DistillationStage,
    StudentDropout,
    require_answers,
)
from .further_losses import FurtherLosses, checked_terms, further_terms

if TYPE_CHECKING:
    from ..planning import Plan, Work

_LOSSES = ("embeddings", "hidden", "attention", "cosine", "predictions", "ground_truth")


class DistillConfig(StageConfig):
    """Settings of the stage."""

    teacher: Literal["original", "assistant"] = Field("original", description="who teaches")
    layer_map: Literal["uniform", "last"] | list[int] = Field(
        "uniform",
        description="the teacher's layer for each of the student's: uniform (evenly, the last one included), "
        "last (the teacher's last ones), or a list counted from 1",
    )
    embeddings: float = Field(0.0, ge=0, description="weight of the embedding output's mean squared error")
    hidden: float = Field(
        0.0, ge=0, description="weight of the mapped layers' hidden states' mean squared error"
    )
    attention: float = Field(
        0.0, ge=0, description="weight of the mapped layers' attention scores' mean squared error"
    )
    cosine: float = Field(0.0, ge=0, description="weight of the angle between the last hidden states")
    predictions: float = Field(
        1.0, ge=0, description="weight of the soft cross-entropy with the teacher's prediction"
    )
    ground_truth: float = Field(0.0, ge=0, description="weight of the cross-entropy with the labels")
    losses: FurtherLosses = Field(default_factory=list)
    temperature: float = Field(
        1.0,
        gt=0,
        description="divides the logits of both in the soft cross-entropy; the loss is not multiplied by its "
        "square",
    )
    epochs: float = Field(3.0, gt=0, le=100_000, description="passes over the training examples")
    learning_rate: float = Field(3e-5, gt=0, description="after the warm-up; then it falls linearly to zero")
    dropout: StudentDropout = None
    augmentation: AugmentationChoice = None
    cache: CacheChoice = "auto"
    cache_precision: CachePrecision = "float32"

    @model_validator(mode="after")
    def _something_to_learn(self) -> DistillConfig:
        further = checked_terms(self, self.losses)
        weights = {name: getattr(self, name) for name in _LOSSES}
        if not any(weights.values()) and not any(term.weight for term in further):
            raise ValueError(f"{', '.join(_LOSSES)} are all 0: nothing is left to learn")
        weights.pop("ground_truth")
        require_answers(self.augmentation, further, *weights.values())
        return self

    @property
    def judges(self) -> bool:
        """Whether the exits learn, so that validation scores can choose the best weights."""
        further = (t.weight for t in further_terms(self.losses) if t.loss.unit == "exit")
        return bool(self.predictions or self.ground_truth or any(further))


@register("distill")
class Distill(DistillationStage):
    """Teach a smaller student what the teacher's layers hold, or what it predicts: one phase.

    Its losses are TinyBERT's (embeddings, hidden states, attention scores, predictions) and DistilBERT's
    (predictions, labels, cosine). Where the student is narrower, learned matrices map its hidden states to
    the teacher's width; they are trained along, and belong to the phase: no model holds them afterwards.
    With predictions or labels among the losses the epoch with the best validation score is kept, else the
    last one.

    A cached teacher serves every loss: attention scores are computed from the hidden states it remembers
    and the query and key matrices of its model.
    """

    Config = DistillConfig
    needs = ("model", "original")
    config: DistillConfig

    def plan(self, plan: Plan) -> list[Work]:
        """One training run; the layer map and the numbers of heads must fit."""
        from ..architectures import shape_of
        from ..planning import Work
        from .training.matching import check_heads, mapped_layers

        config = self.config
        student = [layer.num_attention_heads for layer in shape_of(plan.model).layers]
        teacher = [layer.heads for layer in plan.original.layers]
        layers = mapped_layers(config.layer_map, len(student), len(teacher))
        if config.attention:
            check_heads(student, teacher, layers)
        plan.ask_teacher(config, config.augmentation)
        return [Work("distill", config.epochs, config.learning_rate)]

    def run(self, context: StageContext) -> None:
        """Train the student on the weighted sum of the losses."""
        from ..distill.losses import matched
        from .training.fit import Fitter
        from .training.matching import Matching
        from .training.objectives import Objective, predictions, truth
        from .training.teaching import examples_for, teacher_of

        config = self.config
        fitter = Fitter(context, examples_for(context, config.teacher, config.augmentation))
        teacher = teacher_of(context, fitter, config)
        model = context.load("model")
        torch.manual_seed(context.seed("projections"))
        matching = Matching(model, context.load(config.teacher), config.layer_map)
        terms = [
            matching.term(matched.Embeddings(), config.embeddings),
            matching.term(matched.Hidden(), config.hidden),
            matching.term(matched.Attention(), config.attention),
            matching.term(matched.Cosine(), config.cosine),
            predictions(config.predictions, config.temperature, final=len(model.exits) == 1),
            truth(config.ground_truth),
            *(matching.term(term.loss, term.weight) for term in further_terms(config.losses)),
        ]
        with matching.attached(*terms):
            result = fitter.fit(
                model,
                Objective(terms, teacher),
                phase="distill",
                learning_rate=config.learning_rate,
                epochs=config.epochs,
                select_best=config.judges,
                gradient_equilibrium=len(model.exits) > 1,
                dropout=config.dropout,
            )
        context.publish(model, "model")
        context.summary.update(steps=result.steps, score=result.score, best_step=result.best_step)
