"""Fine-tuning on the ground truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field

from . import register
from .base import Stage, StageConfig, StageContext, derive_seed

if TYPE_CHECKING:
    from ..planning import Plan, Work


class FinetuneConfig(StageConfig):
    """Settings of the stage."""

    epochs: float = Field(3.0, gt=0, description="passes over the training examples")
    learning_rate: float = Field(3e-5, gt=0, description="after the warm-up; then it falls linearly to zero")
    exits: Literal["last", "recipe"] = Field(
        "last",
        description="last: one exit, the dense original; recipe: the exits of the recipe, trained jointly",
    )
    gradient_equilibrium: bool = Field(
        True, description="balance the exits' gradients (Eq. 3), where there is more than one"
    )


@register("finetune")
class Finetune(Stage):
    """Fine-tune the backbone on the task: the dense original that all else is set against."""

    Config = FinetuneConfig
    gives = ("model", "original")
    config: FinetuneConfig

    def plan(self, plan: Plan) -> list[Work]:
        """One training run."""
        from ..planning import Work

        plan.put_exits("last" if self.config.exits == "last" else plan.recipe.exits.layers)
        return [Work("train", self.config.epochs, self.config.learning_rate)]

    def run(self, context: StageContext) -> None:
        """Train on the labels; keep the epoch with the best validation score."""
        from ..exits import MultiExitForSequenceClassification
        from ..models import load_backbone
        from .training.fit import Fitter
        from .training.objectives import Objective, truth

        recipe, task = context.recipe, context.task.task
        torch.manual_seed(derive_seed(recipe.seed, "initial weights"))
        exits = recipe.exits
        model = MultiExitForSequenceClassification.from_backbone(
            load_backbone(recipe.model, len(context.tokenizer)),
            num_labels=len(task.label_names),
            exit_layers="last" if self.config.exits == "last" else exits.layers,
            head=exits.head,
            reads=exits.reads,
            dropout=exits.dropout,
            label_names=task.label_names,
        )
        fitter = Fitter(context)
        result = fitter.fit(
            model,
            Objective([truth()]),
            phase="train",
            learning_rate=self.config.learning_rate,
            epochs=self.config.epochs,
            gradient_equilibrium=self.config.gradient_equilibrium and len(model.exits) > 1,
        )
        context.publish(model, "model", "original")
        context.summary.update(steps=result.steps, score=result.score, best_step=result.best_step)
        fitter.clean()
