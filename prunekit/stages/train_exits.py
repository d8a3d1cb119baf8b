"""Exits on a backbone that stays as it is: the second of two stages (DeeBERT)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field, model_validator

from ..errors import RecipeError
from ..exits import ExitsConfig
from . import register
from .assistant import with_exits
from .base import Stage, StageConfig, StageContext
from .distillation import CacheChoice, CachePrecision

if TYPE_CHECKING:
    from ..planning import Plan, Work
    from ..recipes import Recipe
    from .training.fit import Fitter
    from .training.objectives import Objective


class TrainExitsConfig(StageConfig):
    """Settings of the stage."""

    epochs: float = Field(3.0, gt=0, le=100_000, description="passes over the training examples")
    learning_rate: float = Field(3e-5, gt=0, description="after the warm-up; then it falls linearly to zero")
    copy_last_exit: bool = Field(
        False, description="begin every new exit with the weights of the last one, pooler included"
    )
    ground_truth: float = Field(1.0, ge=0, description="weight of the cross-entropy with the labels")
    predictions: float = Field(0.0, ge=0, description="weight of the soft cross-entropy with a teacher")
    teacher: Literal["assistant", "original"] = Field(
        "original", description="who teaches, where predictions has a weight"
    )
    teacher_exit: Literal["same", "final"] = Field(
        "same",
        description="same: every exit learns from the teacher's same exit, where it has more than one; "
        "final: from its final prediction",
    )
    temperature: float = Field(1.0, gt=0, description="divides the logits of both in the soft cross-entropy")
    cache: CacheChoice = "auto"
    cache_precision: CachePrecision = "float32"

    @model_validator(mode="after")
    def _something_to_learn(self) -> TrainExitsConfig:
        if not (self.ground_truth or self.predictions):
            raise ValueError("ground_truth and predictions are both 0: nothing is left to learn")
        return self

    def layout(self, exits: ExitsConfig, model: Any) -> ExitsConfig:
        """The recipe's layers, with exits like the last one of the model (its configuration is read)."""
        return exits.model_copy(update={"head": model.exit_head, "reads": model.exit_reads})


@register("train_exits")
class TrainExits(Stage):
    """Put exits on the recipe's layers and train them alone; backbone and last exit stay as they are.

    The loss is the sum over the exits but the last, each of them like the last in kind and reading (Xin et
    al., "DeeBERT: Dynamic Early Exiting for Accelerating BERT Inference", ACL 2020, second stage).
    """

    Config = TrainExitsConfig
    needs: tuple[str, ...] = ("model",)
    config: TrainExitsConfig

    def __init__(self, config: TrainExitsConfig) -> None:
        super().__init__(config)
        if config.predictions:
            self.needs = ("model", config.teacher)

    def plan(self, plan: Plan) -> list[Work]:
        """One training run.

        Raises:
            RecipeError: there is no exit to train, or the recipe's last one is not the model's.
        """
        from ..planning import Work

        last = plan.model.config.exit_layers[-1]
        plan.put_exits(self.config.layout(plan.recipe.exits, plan.model.config))
        layers = plan.model.config.exit_layers
        if layers[-1] != last or len(layers) == 1:
            raise RecipeError(
                f"exits.layers: exits on the layers {layers}, and the model's last exit, on layer {last}, "
                "is not trained here",
                f"end exits.layers with {last}, after at least one other layer",
            )
        if self.config.predictions:
            plan.ask_teacher(self.config)
        return [Work("exits", self.config.epochs, self.config.learning_rate)]

    def inputs(self, recipe: Recipe, key: str) -> dict[str, Any]:
        """Of the exits what is not the model's own."""
        inputs = super().inputs(recipe, key)
        return {**inputs, "exits": {k: inputs["exits"][k] for k in ("layers", "dropout")}}

    def run(self, context: StageContext) -> None:
        """Train the exits; keep the epoch with the best mean score over exits."""
        from .training.fit import Fitter

        config = self.config
        fitter = Fitter(context)
        before = context.load("model")
        torch.manual_seed(context.seed("exits"))
        model = with_exits(
            before, config.layout(context.recipe.exits, before.config), copy_last=config.copy_last_exit
        )
        result = fitter.fit(
            model,
            self._objective(context, fitter),
            phase="exits",
            learning_rate=config.learning_rate,
            epochs=config.epochs,
            fixed=[model.backbone, model.exits[-1]],
        )
        context.publish(model, "model")
        context.summary.update(steps=result.steps, score=result.score, best_step=result.best_step)

    def _objective(self, context: StageContext, fitter: Fitter) -> Objective:
        from .training.objectives import Objective, but_last, predictions, truth
        from .training.teaching import teacher_of

        config = self.config
        teacher = teacher_of(context, fitter, config) if config.predictions else None
        final = config.teacher_exit == "final"
        terms = [
            truth(config.ground_truth),
            predictions(config.predictions, config.temperature, final=final),
        ]
        return Objective([but_last(term) for term in terms], teacher)
