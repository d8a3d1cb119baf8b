"""Fine-tuning on the ground truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field

from ..exits import ExitsConfig
from ..exits.heads import HeadKind, Reads
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
    head: HeadKind | None = Field(
        None,
        description="of the exits made here, e.g. pooled for BERT's own classifier; default: the recipe's",
    )
    reads: Reads | None = Field(None, description="what the exits made here read; default: the recipe's")
    gradient_equilibrium: bool = Field(
        True, description="balance the exits' gradients (Eq. 3), where there is more than one"
    )

    def layout(self, exits: ExitsConfig) -> ExitsConfig:
        """The exits made here, of the recipe's."""
        return exits.model_copy(
            update={
                "layers": "last" if self.exits == "last" else exits.layers,
                "head": self.head or exits.head,
                "reads": self.reads or exits.reads,
            }
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

        plan.put_exits(self.config.layout(plan.recipe.exits))
        return [Work("train", self.config.epochs, self.config.learning_rate)]

    def run(self, context: StageContext) -> None:
        """Train on the labels; keep the epoch with the best validation score."""
        from ..exits import MultiExitForSequenceClassification
        from ..models import load_backbone
        from .training.fit import Fitter
        from .training.objectives import Objective, truth

        recipe, task = context.recipe, context.task.task
        torch.manual_seed(derive_seed(recipe.seed, "initial weights"))
        exits = self.config.layout(recipe.exits)
        model = MultiExitForSequenceClassification.from_backbone(
            load_backbone(recipe.model, len(context.tokenizer)),
            num_labels=len(task.label_names),
            exit_layers=exits.layers,
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
