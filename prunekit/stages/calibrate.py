"""An exit policy with a guarantee: the fastest that is shown to lose little against all layers."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from ..calibration import (
    CHOSE_CHECKPOINTS,
    Confidence,
    Share,
    check_examples,
    fewest_examples,
    warn_of_large_drop,
)
from ..errors import RecipeError
from . import register
from .base import Stage, StageConfig, StageContext
from .evaluate import check_policies, known_policies
from .outputs import FOLDER, model_outputs

if TYPE_CHECKING:
    from ..calibration import Guarantee
    from ..exits import MultiExitForSequenceClassification
    from ..planning import Plan, Work

logger = logging.getLogger(__name__)

METRIC = "accuracy"


class CalibrateConfig(StageConfig):
    """Settings of the stage."""

    max_drop: Share = Field(
        0.01,
        description="what leaving early may lose at most, in points of accuracy: 0.01 or 1% is one point",
    )
    confidence: Confidence = Field(0.95, description="how sure that must be: 0.95 or 95%")
    policy: str = Field("entropy", description="how examples leave: an exit policy, tried with its own sweep")
    policies: list[str | dict[str, Any]] | None = Field(
        None,
        min_length=1,
        description="instead: policies tested in this order, which is to go from the slowest to the fastest, "
        "until one is not shown to be safe: a name for its sweep, or one with its arguments",
    )
    bound: Literal["auto", "binomial", "betting"] = Field(
        "auto",
        description="how it is shown: binomial counts what leaving early harms, betting also what it helps; "
        "auto: the one to expect more of for the number of examples",
    )
    metric: str = Field(METRIC, description="what is bounded; a mean over examples, so accuracy alone")

    @field_validator("metric")
    @classmethod
    def _accuracy_alone(cls, metric: str) -> str:
        if metric != METRIC:
            raise RecipeError(
                f"a drop of {metric!r} cannot be bounded: it must be a mean over examples, as accuracy is, "
                "and scores such as F1 and Matthews' are not",
                "leave it out, or set metric: accuracy",
            )
        return metric

    _known = field_validator("policy", "policies")(known_policies)

    def sweep(self, exits: int, classes: int) -> list[dict[str, Any]]:
        """The policies to test, as specifications, in order."""
        from ..exits.policies import sweep_of, sweeps_of

        if self.policies is None:
            return sweep_of(self.policy, exits, classes)
        return sweeps_of(self.policies, exits, classes)


@register("calibrate")
class Calibrate(Stage):
    """Choose the fastest exit policy that is shown to lose little accuracy against all layers."""

    Config = CalibrateConfig
    needs = ("model",)
    gives = ("model",)
    config: CalibrateConfig

    def plan(self, plan: Plan) -> list[Work]:
        """No training; what cannot be bounded, or with too few examples, is refused."""
        model, data = plan.model.config, plan.recipe.data
        if len(model.exit_layers) == 1:
            raise RecipeError(
                "calibrate: the model has one exit, before which nobody can leave",
                "give it exits on more layers: exits.layers=all",
            )
        key = "policy" if self.config.policies is None else "policies"
        sweep = self.config.sweep(len(model.exit_layers), model.num_labels)
        check_policies(model, sweep, f"calibrate.{key}")
        check_metrics(plan.task.task.metrics if plan.task is not None else data.metrics)
        known = data.calibration_size or data.validation_size
        if plan.task is not None:
            known = len(plan.task.splits[held_out(plan.task.splits)])
        if known:
            check_examples(known, self.config.max_drop, self.config.confidence, self.config.bound)
        return []

    def run(self, context: StageContext) -> None:
        """Choose on the calibration examples, or on the validation examples where there are none."""
        from ..calibration import told
        from ..data import collator
        from ..reports import save_outputs

        check_metrics(context.task.task.metrics)
        warn_of_large_drop(self.config.max_drop, "calibrate.max_drop")
        split = held_out(context.task.splits)
        model = context.load("model")
        outputs = model_outputs(
            model, None, context.task, split, collator(context.tokenizer), context.training.eval_batch_size
        )
        if context.metrics.writes and split != "validation":
            context.published.append(save_outputs(context.run_folder / FOLDER, split, outputs))
        found = calibrated(model, outputs, self.config)
        guarantee = told(
            found,
            f"{split} examples of {context.task.task.name}",
            CHOSE_CHECKPOINTS if split == "validation" else "",
            digest_of(outputs),
        )
        if found.chosen is None:
            needed = fewest_examples(found.max_drop, found.confidence)
            logger.warning(
                "%s It takes %d examples at least where none is harmed or helped, and more where some are "
                "harmed; there were %d.",
                guarantee["words"], needed, found.examples,
            )  # fmt: skip
        else:
            logger.info(
                "%s On them it saves %.1f %% of the FLOPs.", guarantee["words"], 100 * guarantee["saved"]
            )
        self._publish(context, model, guarantee)

    def _publish(
        self, context: StageContext, model: MultiExitForSequenceClassification, guarantee: Guarantee
    ) -> None:
        """The same weights, with the policy and its guarantee."""
        model.set_exit_policy(guarantee["policy"])
        model.config.exit_guarantee = dict(guarantee)
        folder = context.folder / "model"
        context.save(model, folder)
        context.models["model"] = folder
        context.summary.update(
            policy=guarantee["policy"],
            guarantee=guarantee["words"],
            examples=guarantee["examples"],
            drop=guarantee["drop"],
            saved=guarantee["saved"],
        )


def calibrated(model: MultiExitForSequenceClassification, outputs: Any, config: CalibrateConfig) -> Any:
    """The :class:`~prunekit.calibration.Calibration` of a model on what its exits said about examples."""
    from ..calibration import calibrate
    from ..costs import exit_macs

    return calibrate(
        outputs,
        config.sweep(len(outputs.exit_layers), outputs.logits.shape[2]),
        exit_macs(model, outputs.lengths),
        max_drop=config.max_drop,
        confidence=config.confidence,
        bound=config.bound,
    )


def digest_of(outputs: Any) -> str:
    """Of the examples and their labels, to know them again."""
    return hashlib.sha256(f"{outputs.digest} {outputs.labels.tolist()}".encode()).hexdigest()


def held_out(splits: Any) -> str:
    """Name of the split to calibrate on."""
    return "calibration" if "calibration" in splits else "validation"


def check_metrics(metrics: Any) -> None:
    """Refuse a task that is not scored by accuracy; ``None``: it is, by default."""
    if metrics is not None and METRIC not in metrics:
        raise RecipeError(
            "data.metrics: calibrate bounds a drop of accuracy, and the task is scored by "
            + ", ".join(metrics),
            f"add accuracy: data.metrics=[{', '.join([*metrics, METRIC])}]",
        )
