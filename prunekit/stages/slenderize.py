"""Slenderizing: units are removed step by step, with some training between."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from .. import console
from ..errors import BudgetError, RecipeError
from . import register
from .base import StageConfig, StageContext
from .distillation import DistillationConfig, DistillationStage

if TYPE_CHECKING:
    from torch import nn

    from ..budgets import Budget
    from ..distill import Teacher
    from ..exits import MultiExitForSequenceClassification
    from ..groups import Group
    from ..planning import Plan, Work
    from ..pruner import Pruner
    from .training.fit import Fitter
    from .training.objectives import Objective

logger = logging.getLogger(__name__)
Size = int | list[int]
# Steps where no head is removed and none are asked for.
_STEPS = 10


class ImportanceConfig(StageConfig):
    """Weights of the loss whose change by a unit's removal is the unit's importance."""

    predictions: float = Field(0.9, ge=0, description="soft cross-entropy with the teacher, exit by exit")
    ground_truth: float = Field(0.1, ge=0, description="cross-entropy with the labels")
    features: float = Field(1.0, ge=0, description="mean squared error of the hidden states")

    @model_validator(mode="after")
    def _exits_have_a_loss(self) -> ImportanceConfig:
        if not (self.predictions or self.ground_truth):
            raise ValueError("predictions and ground_truth are both 0: the exits would have no loss")
        return self

    def objective(self, teacher: Teacher, temperature: float) -> Objective:
        """The loss; ``per_exit`` of it is what a scorer takes."""
        from .training.objectives import Objective, features, predictions, truth

        return Objective(
            [
                predictions(self.predictions, temperature),
                truth(self.ground_truth),
                features(self.features),
            ],
            teacher,
        )


class SlenderizeConfig(DistillationConfig):
    """Settings of the stage."""

    heads: Size | None = Field(
        None, description="attention heads every layer keeps, or a list with one number a layer"
    )
    neurons: Size | None = Field(
        None, description="FFN neurons every layer keeps, or a list with one number a layer"
    )
    rank: int | None = Field(None, description="rank of the word embedding that is kept")
    budget: dict[str, Any] | None = Field(
        None, description="instead of heads, neurons and rank: e.g. {name: target, parameters: 8x}"
    )
    granularities: list[str] | None = Field(
        None,
        min_length=1,
        description="what is removed; default: what has a size, or heads, neurons and rank",
    )
    scorer: str | dict[str, Any] = Field("multi_exit_taylor", description="what a unit is worth")
    scheduler: str | dict[str, Any] = Field("linear", description="how fast the sizes approach the target")
    steps: int | None = Field(
        None, ge=1, le=10_000, description="pruning steps; default: one for each head a layer loses"
    )
    score_batches: int = Field(
        32, ge=1, le=1_000_000, description="training batches that importance is computed on"
    )
    importance: ImportanceConfig = Field(
        default_factory=lambda: ImportanceConfig(),
        description="weights of the loss that importance is computed of",
    )
    interval_epochs: float = Field(
        0.5, ge=0, le=100_000, description="passes over the training examples after every step"
    )
    features_fraction: float = Field(
        0.6, ge=0, le=1, description="first part of an interval, in which hidden states alone are distilled"
    )
    learning_rate: float = Field(1e-5, gt=0, description="of the first interval, after its warm-up")
    learning_rate_growth: float = Field(
        1.12, gt=0, description="factor of the learning rate from interval to interval"
    )

    @field_validator("heads", "neurons", "rank")
    @classmethod
    def _at_least_one(cls, value: Size | None) -> Size | None:
        for size in value if isinstance(value, list) else [value]:
            if size is not None and size < 1:
                raise ValueError(f"{size} is not a number of units to keep: at least 1")
        return value

    @field_validator("scorer", "scheduler")
    @classmethod
    def _known_part(cls, value: str | dict[str, Any], info: ValidationInfo) -> str | dict[str, Any]:
        """A wrong name or argument is refused before any compute."""
        from ..schedulers import registry as schedulers
        from ..scorers import registry as scorers

        (scorers if info.field_name == "scorer" else schedulers).build(value)  # type: ignore[attr-defined]
        return value

    @model_validator(mode="after")
    def _one_target(self) -> SlenderizeConfig:
        sizes = self.sizes()
        if self.budget is not None and sizes:
            raise ValueError(f"budget is given together with {', '.join(sizes)}: keep one")
        if self.budget is None and not sizes:
            raise ValueError("nothing says how small: give heads, neurons and rank, or a budget")
        if self.interval_epochs:
            self.require_losses()
        return self

    def sizes(self) -> dict[str, Size]:
        """Granularity -> units to keep, of those that are given."""
        return {
            name: value for name in ("heads", "neurons", "rank") if (value := getattr(self, name)) is not None
        }

    def granularity_names(self) -> list[str]:
        """What is removed."""
        return self.granularities or list(self.sizes()) or ["heads", "neurons", "rank"]

    def make_budget(self) -> Budget:
        """The target, as a budget."""
        from ..budgets import registry as budgets

        return budgets.build(self.budget if self.budget is not None else {"name": "sizes", **self.sizes()})

    def rate(self, step: int) -> float:
        """Learning rate of the interval after a step, counted from 1.

        Raises:
            RecipeError: it has grown beyond any number.
        """
        try:
            rate = self.learning_rate * self.learning_rate_growth ** (step - 1)
        except OverflowError:
            rate = math.inf
        if not math.isfinite(rate):
            raise RecipeError(
                f"slenderize.learning_rate_growth: {self.learning_rate_growth:g}, and after {step - 1} steps "
                "the learning rate is beyond any number",
                "give fewer steps, or a factor near 1",
            )
        return rate

    def number_of_steps(self, model: nn.Module, groups: Sequence[Group]) -> int:
        """``steps``, or by default as many as the most heads that a layer loses (the paper's A - A')."""
        if self.steps is not None:
            return self.steps
        heads = [group for group in groups if group.granularity == "heads"]
        try:
            final = self.make_budget().sizes(model, groups, 1.0)
        except BudgetError:
            if self.budget is None:
                raise
            return _STEPS  # sizes that only scores will tell
        lost = max((group.size - final[group.name] for group in heads), default=0)
        return lost or _STEPS


@register("slenderize")
class Slenderize(DistillationStage):
    """Remove heads, neurons and embedding ranks step by step, with distillation between the steps."""

    Config = SlenderizeConfig
    config: SlenderizeConfig

    def plan(self, plan: Plan) -> list[Work]:
        """Slim to the target; one training run a step."""
        from ..planning import Work

        config, steps = self.config, self._steps(plan.model)
        plan.ask_teacher(config, config.augmentation)
        plan.slim(config.granularity_names(), config.make_budget())
        last = config.rate(steps)
        return [Work("step", config.interval_epochs, (config.learning_rate, last), times=steps)]

    def run(self, context: StageContext) -> None:
        """Score, slim, train, once for each step; every step is saved, and begins from what was saved."""
        from .training.fit import Fitter
        from .training.teaching import examples_for, teacher_of

        fitter = Fitter(context, examples_for(context, self.config.teacher, self.config.augmentation))
        teacher = teacher_of(context, fitter, self.config)
        done = context.parts()
        if done:
            model, record = context.read_part(done[-1])
        else:
            model = context.load("model")
            record = {"step": 0, "of": self._steps(model), "trained": 0, "pruner": None, "score": None}
        while record["step"] < record["of"]:
            name = f"step-{record['step'] + 1:03d}"
            with console.where(f"step {record['step'] + 1}/{record['of']}"):
                model, record = context.part(
                    name, partial(self._step, context, fitter, teacher, model, record)
                )
            fitter.clean()
            context.clean_parts(*done)
            done = [name]
        context.publish(model, "model")
        context.summary.update(steps=record["trained"], pruning_steps=record["of"], score=record["score"])

    def _steps(self, model: MultiExitForSequenceClassification) -> int:
        """Number of steps; a target that cannot be met is refused here, before any compute."""
        from ..granularities import registry as granularities

        names = self.config.granularity_names()
        groups = [group for name in names for group in granularities.build(name).groups(model)]
        self.config.make_budget().check(model, groups)
        return self.config.number_of_steps(model, groups)

    def _step(
        self,
        context: StageContext,
        fitter: Fitter,
        teacher: Teacher,
        model: MultiExitForSequenceClassification,
        before: dict[str, Any],
    ) -> tuple[MultiExitForSequenceClassification, dict[str, Any]]:
        """One step: the slimmed, trained model and what the next step must know."""
        from transformers import set_seed

        config, step = self.config, before["step"] + 1
        set_seed(context.seed("step", step) % 2**32)
        pruner = self._slim(context, fitter, teacher, model, before)
        result = fitter.fit(
            model,
            config.objective(teacher, since=config.features_fraction if config.by_layer else 0.0),
            phase=f"step-{step:03d}",
            learning_rate=config.rate(step),
            epochs=config.interval_epochs,
            select_best=False,
            gradient_equilibrium=config.gradient_equilibrium,
            dropout=config.dropout,
        )
        scores = fitter.validate(model)
        context.metrics.log(context.key, "evaluate", step=step, **scores)
        logger.info("score %.4f at the exits' mean, %.4f at the last", scores["score"], scores["last"])
        return model, {
            "step": step,
            "of": before["of"],
            "trained": before["trained"] + result.steps,
            "pruner": pruner.state_dict(),
            "score": scores["score"],
        }

    def _slim(
        self,
        context: StageContext,
        fitter: Fitter,
        teacher: Teacher,
        model: MultiExitForSequenceClassification,
        before: dict[str, Any],
    ) -> Pruner:
        """Score the model's units and remove a step's share of them; the pruner, to go on from."""
        from ..pruner import Pruner

        config, step = self.config, before["step"] + 1
        pruner = Pruner(
            model,
            granularities=config.granularity_names(),
            scorer=config.scorer,
            budget=config.make_budget(),
            scheduler=config.scheduler,
            steps=before["of"],
            state=before["pruner"],
        )
        loss = config.importance.objective(teacher, config.temperature).per_exit
        pruner.score(fitter.batches(config.score_batches, f"score {step}"), loss)
        kept = pruner.step()
        context.metrics.log(
            context.key,
            "sizes",
            step=step,
            sizes={group.name: group.size for group in pruner.groups},
            kept={name: keep.tolist() for name, keep in kept.items()},
        )
        logger.info("kept %s", described(pruner.groups))
        return pruner


def described(groups: Sequence[Group]) -> str:
    """Sizes in a few words, e.g. ``"heads 11, neurons 1390-1400, rank 350"``."""
    sizes: dict[str, list[int]] = {}
    for group in groups:
        sizes.setdefault(group.granularity, []).append(group.size)
    return ", ".join(
        f"{name} {min(found)}" + (f"-{max(found)}" if max(found) > min(found) else "")
        for name, found in sizes.items()
    )
