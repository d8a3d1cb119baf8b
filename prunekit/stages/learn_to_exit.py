"""Learning to exit: a layer that says of every exit how sure it is that it is right (BERxiT)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from ..errors import RecipeError
from . import register
from .base import Stage, StageConfig, StageContext

if TYPE_CHECKING:
    from ..planning import Plan, Work
    from ..recipes import Recipe
    from .training.fit import Fitter

logger = logging.getLogger(__name__)


class LearnToExitConfig(StageConfig):
    """Settings of the stage."""

    epochs: float = Field(3.0, gt=0, description="passes over the training examples")
    learning_rate: float = Field(
        1e-3,
        gt=0,
        description="of the one layer that is trained; after the warm-up it falls linearly to zero",
    )


@register("learn_to_exit")
class LearnToExit(Stage):
    """Train one layer, shared by all exits, to tell whether an exit is right; the policy `learned` reads it.

    It sees what the exit reads, and its output is a certainty from 0 to 1. The loss is the mean squared error
    with 1 where the exit's prediction is the label, else 0, summed over the exits; backbone and exits stay
    as they are (Xin et al., "BERxiT: Early Exiting for BERT with Better Fine-Tuning and Extension to
    Regression", EACL 2021, section 4).
    """

    Config = LearnToExitConfig
    needs = ("model",)
    config: LearnToExitConfig

    def plan(self, plan: Plan) -> list[Work]:
        """One training run.

        Raises:
            RecipeError: the model has one exit.
        """
        from ..planning import Work

        layers = plan.model.config.exit_layers
        if len(layers) == 1:
            raise RecipeError(
                f"exits.layers: the model has one exit, on layer {layers[0]}, and nobody can leave before it",
                "put a stage before this one that gives it more: finetune with exits: recipe, train_exits, "
                "or assistant",
            )
        plan.model.add_exit_certainty()
        return [Work("certainty", self.config.epochs, self.config.learning_rate)]

    def inputs(self, recipe: Recipe, key: str) -> dict[str, Any]:
        """The exits are the model's own."""
        inputs = super().inputs(recipe, key)
        del inputs["exits"]
        return inputs

    def run(self, context: StageContext) -> None:
        """Train the layer; say how well it tells right from wrong on the validation examples."""
        from .training.fit import Fitter
        from .training.objectives import Objective, certainty

        fitter = Fitter(context)
        model = context.load("model")
        model.add_exit_certainty()
        result = fitter.fit(
            model,
            Objective([certainty()]),
            phase="certainty",
            learning_rate=self.config.learning_rate,
            epochs=self.config.epochs,
            select_best=False,
            fixed=[model.backbone, model.exits],
        )
        context.publish(model, "model")
        context.summary.update(steps=result.steps, **_told(context, fitter, model))


def _told(context: StageContext, fitter: Fitter, model: Any) -> dict[str, float]:
    """On the validation examples: the certainty's mean squared error, and that of each exit's accuracy."""
    from .training.predict import exit_answers

    task, size = context.task, context.training.eval_batch_size
    lengths = task.lengths("validation")
    logits, sure = exit_answers(model, fitter.validation_rows, lengths, fitter.collate, size)
    assert sure is not None
    right = logits.argmax(axis=2) == task.task.validation.with_format("numpy")["label"][:]
    shares = right.mean(axis=1, keepdims=True)
    error, constant = float(np.square(sure - right).mean()), float(np.square(shares - right).mean())
    logger.info(
        "certainty learned: mean squared error %.4f; %.4f for an exit that only knows how often it is right",
        error, constant,
    )  # fmt: skip
    return {"certainty_error": error, "constant_error": constant}
