"""Recovery: the slender model learns from the wide one, layer by layer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from . import register
from .base import StageContext
from .config import ExitsLearningRate
from .distillation import DistillationConfig, DistillationStage

if TYPE_CHECKING:
    from ..distill import Teacher
    from ..planning import Plan, Work
    from .training.objectives import Objective

logger = logging.getLogger(__name__)


class RecoverConfig(DistillationConfig):
    """Settings of the stage."""

    features_epochs: float = Field(
        5.0, ge=0, le=100_000, description="epochs of hidden-state distillation alone, first"
    )
    features_learning_rate: float = Field(3e-5, gt=0, description="learning rate of those epochs")
    epochs: float = Field(3.0, ge=0, le=100_000, description="epochs of all that has a weight, after them")
    learning_rate: float = Field(2e-5, gt=0, description="learning rate of these epochs")
    exits_learning_rate: ExitsLearningRate = None
    trains: Literal["model", "exits"] = Field(
        "model",
        description="what they train: the whole model, or its exits alone, on a backbone that stays as the "
        "hidden states have taught it",
    )

    @model_validator(mode="after")
    def _something_to_learn(self) -> RecoverConfig:
        if self.epochs:
            self.require_losses()
        if not self.epochs and not self.features_epochs:
            raise ValueError("features_epochs and epochs are both 0: leave the stage out of stages instead")
        if self.epochs and self.trains == "exits" and not self.exits_alone().has_losses:
            raise ValueError("exits alone learn from predictions or ground_truth, and both are 0")
        return self

    def exits_alone(self) -> RecoverConfig:
        """Without the losses by layer: these are out of the exits' reach."""
        terms = zip(self.losses, self.further(), strict=True)
        kept = [spec for spec, term in terms if term.loss.unit == "exit"]
        return self.model_copy(update={"features": 0.0, "losses": kept})

    def last_objective(self, teacher: Teacher) -> Objective:
        """Of the epochs behind those on hidden states alone."""
        return (self if self.trains == "model" else self.exits_alone()).objective(teacher)


@register("recover")
class Recover(DistillationStage):
    """Distil the assistant into the slender model: hidden states first, then predictions too."""

    Config = RecoverConfig
    config: RecoverConfig

    def plan(self, plan: Plan) -> list[Work]:
        """Hidden states alone, then everything."""
        from ..planning import Work

        config = self.config
        plan.ask_teacher(config, config.augmentation)
        works = [
            Work("features", config.features_epochs, config.features_learning_rate),
            Work("predictions", config.epochs, config.learning_rate),
        ]
        return [work for work in works if work.epochs]

    def run(self, context: StageContext) -> None:
        """Train features alone, then everything; keep the best by the mean score over exits.

        The model that the features alone have taught is one of those the best is chosen from.
        """
        from .training.fit import Fitter
        from .training.objectives import Objective, features
        from .training.teaching import examples_for, teacher_of

        config = self.config
        fitter = Fitter(context, examples_for(context, config.teacher, config.augmentation))
        teacher = teacher_of(context, fitter, config)
        by_layer = [term for term in config.further() if term.loss.unit == "layer"]

        def distil_features() -> tuple[object, dict[str, object]]:
            model = context.load("model")
            result = fitter.fit(
                model,
                Objective([features(), *by_layer], teacher),
                phase="features",
                learning_rate=config.features_learning_rate,
                epochs=config.features_epochs,
                select_best=False,
                dropout=config.dropout,
            )
            scores = fitter.validate(model)
            logger.info(
                "features distilled: score %.4f at the exits' mean, %.4f at the last",
                scores["score"],
                scores["last"],
            )
            return model, {"steps": result.steps, **scores}

        model, record = context.part("features", distil_features)
        context.metrics.log(context.key, "part", phase="features", **record)
        fitter.clean("features")
        steps = int(record["steps"])
        if config.epochs:
            result = fitter.fit(
                model,
                config.last_objective(teacher),
                phase="predictions",
                learning_rate=config.learning_rate,
                exits_learning_rate=config.exits_learning_rate,
                epochs=config.epochs,
                gradient_equilibrium=config.gradient_equilibrium,
                dropout=config.dropout,
                fixed=[] if config.trains == "model" else [model.backbone],
            )
            steps += result.steps
            score, best_step = result.score, result.best_step
            if config.features_epochs and score is not None and record["score"] > score:
                logger.info("the features alone taught it better: score %.4f is kept", record["score"])
                model, _ = context.read_part("features")
                score, best_step = record["score"], 0
            context.summary.update(score=score, best_step=best_step)
        context.publish(model, "model")
        context.summary.update(steps=steps)
