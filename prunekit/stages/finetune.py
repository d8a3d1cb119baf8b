"""Fine-tuning on the ground truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field

from ..exits import ExitsConfig
from ..exits.heads import HeadName, Reads
from . import register
from .assistant import with_exits
from .base import Stage, StageConfig, StageContext, derive_seed
from .config import ExitsLearningRate

if TYPE_CHECKING:
    from ..exits import MultiExitForSequenceClassification
    from ..planning import Plan, Work
    from ..recipes import Recipe

# Without a say where there is one exit.
_OF_SEVERAL_EXITS = ("gradient_equilibrium", "exit_weights")


class FinetuneConfig(StageConfig):
    """Settings of the stage."""

    epochs: float = Field(3.0, gt=0, le=100_000, description="passes over the training examples")
    learning_rate: float = Field(3e-5, gt=0, description="after the warm-up; then it falls linearly to zero")
    exits_learning_rate: ExitsLearningRate = None
    start: Literal["backbone", "model"] = Field(
        "backbone",
        description="backbone: the recipe's model as it is; model: the one that the stages before made",
    )
    exits: Literal["last", "recipe"] = Field(
        "last",
        description="last: one exit, the dense original; recipe: the exits of the recipe, trained jointly",
    )
    exit_weights: Literal["equal", "layer"] = Field(
        "equal",
        description="of the exits' losses. equal: their sum; layer: weighted by their place i, sum of "
        "i x loss i over sum of i (PABEE's)",
    )
    head: HeadName | None = Field(
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
    """Fine-tune on the labels: the dense original that all else is set against, or a model made before.

    From the backbone it gives the ``original``, unless it trains several exits and a stage before gave one:
    then that one stays. From a model that other stages made it goes on with this model; an exit on a layer
    that had one keeps what the two have in common.
    """

    Config = FinetuneConfig
    gives: tuple[str, ...] = ("model", "original")
    config: FinetuneConfig

    def __init__(self, config: FinetuneConfig) -> None:
        super().__init__(config)
        if config.start == "model":
            self.needs, self.gives = ("model",), ("model",)

    def plan(self, plan: Plan) -> list[Work]:
        """One training run."""
        from ..planning import Work

        if self.config.start == "backbone":
            plan.start_anew()
        plan.put_exits(self.config.layout(plan.recipe.exits))
        return [Work("train", self.config.epochs, self.config.learning_rate)]

    def inputs(self, recipe: Recipe, key: str) -> dict[str, Any]:
        """Of the exits those that are made here: the dense original is the same whatever comes after it."""
        inputs = super().inputs(recipe, key)
        layout = self.config.layout(recipe.exits)
        unused = ("exits", "head", "reads", *(_OF_SEVERAL_EXITS if layout.layers == "last" else ()))
        inputs["config"] = {k: v for k, v in inputs["config"].items() if k not in unused}
        return {**inputs, "exits": layout.model_dump(mode="json")}

    def run(self, context: StageContext) -> None:
        """Train on the labels; keep the epoch with the best validation score."""
        from .training.fit import Fitter
        from .training.objectives import Objective, truth

        config = self.config
        model = self._model(context)
        result = Fitter(context).fit(
            model,
            Objective([truth(exit_weights=config.exit_weights)]),
            phase="train",
            learning_rate=config.learning_rate,
            exits_learning_rate=config.exits_learning_rate,
            epochs=config.epochs,
            gradient_equilibrium=config.gradient_equilibrium and len(model.exits) > 1,
        )
        context.publish(model, *self._roles(context))
        context.summary.update(steps=result.steps, score=result.score, best_step=result.best_step)

    def _roles(self, context: StageContext) -> tuple[str, ...]:
        if self.config.exits == "recipe" and "original" in context.models:
            return ("model",)
        return self.gives

    def _model(self, context: StageContext) -> MultiExitForSequenceClassification:
        """What is trained, as it is before."""
        from ..exits import MultiExitForSequenceClassification
        from ..models import load_backbone

        recipe, task = context.recipe, context.task.task
        exits = self.config.layout(recipe.exits)
        if self.config.start == "model":
            model = context.load("model")
            torch.manual_seed(context.seed("exits"))
            return with_exits(model, exits, copy_last=False)
        torch.manual_seed(derive_seed(recipe.seed, "initial weights"))
        return MultiExitForSequenceClassification.from_backbone(
            load_backbone(recipe.model, len(context.tokenizer)),
            num_labels=len(task.label_names),
            exit_layers=exits.layers,
            head=exits.head,
            reads=exits.reads,
            dropout=exits.dropout,
            label_names=task.label_names,
        )
