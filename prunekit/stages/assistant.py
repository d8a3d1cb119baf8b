"""The teaching assistant: full width, with an exit on every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field, model_validator

from ..errors import RecipeError
from . import register
from .base import Stage, StageConfig, StageContext
from .config import ExitsLearningRate
from .distillation import AugmentationChoice, require_answers
from .further_losses import FurtherLosses, checked_terms, further_terms

if TYPE_CHECKING:
    from ..exits import MultiExitForSequenceClassification
    from ..exits.config import ExitsConfig
    from ..planning import Plan, Work


class AssistantConfig(StageConfig):
    """Settings of the stage."""

    epochs: float = Field(3.0, gt=0, le=100_000, description="passes over the training examples")
    learning_rate: float = Field(3e-5, gt=0, description="after the warm-up; then it falls linearly to zero")
    exits_learning_rate: ExitsLearningRate = None
    ground_truth: float = Field(0.5, ge=0, description="weight of the cross-entropy with the labels")
    predictions: float = Field(
        0.5, ge=0, description="weight of the soft cross-entropy with the original's final prediction"
    )
    losses: FurtherLosses = Field(default_factory=list)
    temperature: float = Field(1.0, gt=0, description="divides the logits of both in the soft cross-entropy")
    gradient_equilibrium: bool = Field(True, description="balance the exits' gradients (Eq. 3)")
    copy_last_exit: bool = Field(
        False, description="begin every exit with the weights of the original's classifier"
    )
    features_first_epochs: float = Field(
        0.0,
        ge=0,
        le=100_000,
        description="epochs of hidden-state distillation alone before (the published code's; off)",
    )
    features_learning_rate: float = Field(3e-5, gt=0, description="learning rate of those epochs")
    augmentation: AugmentationChoice = None

    @model_validator(mode="after")
    def _copies_teach(self) -> AssistantConfig:
        require_answers(self.augmentation, checked_terms(self, self.losses), self.predictions)
        return self


@register("assistant")
class Assistant(Stage):
    """Train the teaching assistant: every exit learns from the original's final prediction and the labels."""

    Config = AssistantConfig
    needs = ("original",)
    gives = ("model", "assistant")
    config: AssistantConfig

    def plan(self, plan: Plan) -> list[Work]:
        """One training run, after one on the hidden states alone where that is asked for."""
        from ..planning import Work

        config = self.config
        plan.start_anew()  # from the original, whatever stages stand between
        plan.put_exits(plan.recipe.exits)
        self._check_depth(plan)
        plan.check_copies(config.augmentation)
        works = [
            Work("features", config.features_first_epochs, config.features_learning_rate),
            Work("train", config.epochs, config.learning_rate),
        ]
        return [work for work in works if work.epochs]

    def _check_depth(self, plan: Plan) -> None:
        """Hidden states are compared layer by layer, with those of the original."""
        from ..architectures import shape_of

        by_layer = [t.name for t in further_terms(self.config.losses) if t.loss.unit == "layer"]
        if self.config.features_first_epochs:
            by_layer.append("features_first_epochs")
        depth, whole = len(shape_of(plan.model).layers), len(plan.original.layers)
        if by_layer and depth < whole:
            raise RecipeError(
                f"assistant: {', '.join(by_layer)}: the exits end at layer {depth}, and the original has "
                f"{whole}, so their layers cannot be compared",
                "put an exit on the last layer, or leave these out",
            )

    def run(self, context: StageContext) -> None:
        """Put exits on a copy of the original and train all of it; keep the best by the exits' mean."""
        from .training.fit import Fitter
        from .training.objectives import Objective, features, predictions, truth
        from .training.teaching import examples_for, live_teacher

        config = self.config
        further = further_terms(config.losses)
        fitter = Fitter(context, examples_for(context, "original", config.augmentation))
        teacher = live_teacher(context.load("original"), fitter)
        torch.manual_seed(context.seed("exits"))
        model = with_exits(context.load("original"), context.recipe.exits, config.copy_last_exit)
        steps = 0
        if config.features_first_epochs:
            steps += fitter.fit(
                model,
                Objective([features(), *(t for t in further if t.loss.unit == "layer")], teacher),
                phase="features",
                learning_rate=config.features_learning_rate,
                epochs=config.features_first_epochs,
                select_best=False,
            ).steps
        result = fitter.fit(
            model,
            Objective(
                [
                    truth(config.ground_truth),
                    predictions(config.predictions, config.temperature, final=True),
                    *further,
                ],
                teacher,
            ),
            phase="train",
            learning_rate=config.learning_rate,
            exits_learning_rate=config.exits_learning_rate,
            epochs=config.epochs,
            gradient_equilibrium=config.gradient_equilibrium,
        )
        context.publish(model, "model", "assistant")
        context.summary.update(steps=steps + result.steps, score=result.score, best_step=result.best_step)


def with_exits(
    model: MultiExitForSequenceClassification, exits: ExitsConfig, copy_last: bool
) -> MultiExitForSequenceClassification:
    """The same backbone with other exits; one on a layer that had one keeps what the two have in common.

    Args:
        model: gives its backbone away.
        exits: the layout.
        copy_last: begin the others with the last one's weights; else they are drawn from torch's seed.
    """
    from ..exits import MultiExitForSequenceClassification

    names = model.config.id2label or {}
    new = MultiExitForSequenceClassification.from_backbone(
        model.backbone,
        exit_layers=exits.layers,
        head=exits.head,
        reads=exits.reads,
        dropout=exits.dropout,
        label_names=list(names.values()),
    )
    old = dict(zip(model.config.exit_layers, model.exits, strict=True))
    for layer, head in zip(new.config.exit_layers, new.exits, strict=True):
        source = old.get(layer, model.exits[-1] if copy_last else None)
        if source is not None:
            # A pooler or a learned pooling that only one of the two has is left out, or begins afresh.
            own = head.state_dict()
            head.load_state_dict(own | {k: v for k, v in source.state_dict().items() if k in own})
    return new
