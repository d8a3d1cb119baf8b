"""The end of a recipe: what the model keeps and costs, and which threshold it leaves with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, Strict, field_validator, model_validator

from ..calibration import Drop
from ..errors import RecipeError
from . import register
from .base import Stage, StageConfig, StageContext
from .outputs import FOLDER, model_outputs

if TYPE_CHECKING:
    from ..planning import Plan, Work
    from ..reports import Evaluation, RunReport, StageRecord

logger = logging.getLogger(__name__)


def known_policies(value: Any) -> Any:
    """Exit policies as they were written: a name, or a list of names and mappings.

    Raises:
        RecipeError: a wrong name or argument, before any compute.
    """
    from ..exits.policies import registry, sweeps_of

    if value is not None:
        for policy in sweeps_of([value] if isinstance(value, str) else value, 2, 2):
            registry.build(policy)
    return value


class EvaluateConfig(StageConfig):
    """Settings of the stage."""

    policy: str = Field(
        "entropy", description="how examples leave: an exit policy, tried with all that its own sweep has"
    )
    thresholds: list[Annotated[float, Strict()]] | None = Field(
        None, min_length=1, description="instead of the policy's sweep: the thresholds to try"
    )
    policies: list[str | dict[str, Any]] | None = Field(
        None,
        min_length=1,
        description="instead: the policies to try, a name for its sweep, or one with its arguments, e.g. "
        "[confidence, {name: patience, patience: 2}]",
    )
    max_drop: Drop = Field(
        0.01,
        description="what leaving early may lose at most on the validation examples, in points of the main "
        "score: 0.01 or 1% is one point; the model is given the cheapest policy within it",
    )
    sequence_length: int = Field(
        128, ge=1, le=10_000_000, description="tokens for which costs are counted, beside the real lengths"
    )

    _known = field_validator("policy", "policies")(known_policies)

    @model_validator(mode="after")
    def _known_thresholds(self) -> EvaluateConfig:
        """Of a policy that has thresholds."""
        if self.thresholds is not None:
            known_policies([{"name": self.policy, "threshold": value} for value in self.thresholds])
        return self

    def sweep(self, exits: int, classes: int) -> list[dict[str, Any]]:
        """The policies to try, as specifications; none for a single exit, before which nobody can leave."""
        from ..exits.policies import sweep_of, sweeps_of

        if exits == 1:
            return []
        if self.policies is not None:
            return sweeps_of(self.policies, exits, classes)
        if self.thresholds is not None:
            return [{"name": self.policy, "threshold": threshold} for threshold in self.thresholds]
        return sweep_of(self.policy, exits, classes)


@register("evaluate")
class Evaluate(Stage):
    """Measure the model on the test examples under every exit threshold; write model/ and report/."""

    Config = EvaluateConfig
    needs = ("model", "original")
    gives = ("model",)
    config: EvaluateConfig

    def plan(self, plan: Plan) -> list[Work]:
        """No training; every policy is tried on as many exits as the model has."""
        model = plan.model.config
        key = "policies" if self.config.policies else "thresholds" if self.config.thresholds else "policy"
        sweep = self.config.sweep(len(model.exit_layers), model.num_labels)
        check_policies(model, sweep, f"evaluate.{key}")
        return []

    def run(self, context: StageContext) -> None:
        """Choose a policy on the validation examples, measure it on the test examples, write the results."""
        from ..architectures import shape_of
        from ..calibration import guarantee_of
        from ..files import write_bytes
        from ..reports import (
            REPORT_FILES,
            ModelFigures,
            SystemReport,
            choose_policy,
            model_figures,
            write_card,
            write_report,
        )

        config, length = self.config, self.config.sequence_length
        model, dense = context.load("model"), context.load("original")
        validation = self._evaluation(context, model, dense, "validation", None)
        guarantee = guarantee_of(model.config)
        # A stage before this one chose, with a guarantee: it is not chosen again.
        policy = model.config.exit_policy if guarantee else choose_policy(validation, config.max_drop)
        evaluation = self._evaluation(context, model, dense, "test", policy)
        # The reported costs are those of the folder, so the figures are taken from the models as they are.
        figures: ModelFigures = model_figures(model, context.recipe.name, length, shape_of(dense.backbone))
        system = SystemReport(
            context.recipe.name,
            figures,
            evaluation,
            validation=validation,
            max_drop_points=None if guarantee else config.max_drop,
            guarantee=None if guarantee is None else dict(guarantee),
        )
        report = self._report(context, model_figures(dense, "original", length), system)
        model.set_exit_policy(policy)
        chosen = evaluation.chosen
        assert chosen is not None
        context.summary.update(
            policy=policy,
            score=chosen.all.scores[evaluation.metrics[0]],
            kept=chosen.kept,
            speedup=chosen.all.speedup,
            parameters=figures.parameters,
        )
        folder = context.run_folder / "model"
        if not context.keeps(folder):  # else with what was calibrated since
            asked = folder / "calibrations.json"
            tries = asked.read_bytes() if asked.is_file() else None

            def beside(new: Path) -> None:
                write_card(new, report)
                if tries is not None:
                    write_bytes(new / asked.name, tries)

            context.save(model, folder, beside)
        context.models["model"] = folder
        if context.metrics.writes:
            write_report(context.run_folder / "report", report)
            context.published += [context.run_folder / "report" / name for name in REPORT_FILES]

    def _evaluation(
        self,
        context: StageContext,
        model: Any,
        dense: Any,
        split: str,
        chosen: dict[str, Any] | None,
    ) -> Evaluation:
        from ..data import collator, score
        from ..reports import evaluate_exits, exit_costs, save_outputs

        task = context.task.task
        outputs = model_outputs(
            model, dense, context.task, split, collator(context.tokenizer), context.training.eval_batch_size
        )
        if context.metrics.writes:
            context.published.append(save_outputs(context.run_folder / FOLDER, split, outputs))
        return evaluate_exits(
            outputs,
            self.config.sweep(len(outputs.exit_layers), len(task.label_names)),
            exit_costs(model, dense, outputs.lengths, self.config.sequence_length),
            lambda true, predicted: score(task.metrics, true, predicted),
            split=split,
            chosen=chosen,
        )

    def _report(self, context: StageContext, dense: Any, system: Any) -> RunReport:
        from dataclasses import replace

        from ..reports import RunReport
        from ..runs import info_of

        recipe, task = context.recipe, context.task.task
        stages = _stage_records(context)
        seconds = sum(stage.seconds for stage in stages)
        steps = sum(stage.steps or 0 for stage in stages)
        chose = "; thresholds are chosen on the validation examples" if system.evaluation.points else ""
        if system.guarantee is not None:
            examples, source = (system.guarantee[key] for key in ("examples", "source"))
            chose = f"; the exit policy was chosen on {examples:,} {source}"
        about = info_of(context.run_folder)
        return RunReport(
            name=recipe.name,
            task=task.name,
            label_names=list(task.label_names),
            dense=dense,
            systems=[replace(system, seconds=seconds, steps=steps)],
            stages=stages,
            recipe=recipe.resolved(),
            command=about.get("command", ""),
            later_commands=about.get("later_commands", []),
            versions=about.get("versions", {}),
            machine=about.get("machine", {}),
            seed=recipe.seed,
            seconds=seconds,
            task_note=f"{len(task.train)} training, {len(task.validation)} validation and "
            f"{len(task.test)} test examples{chose}",
        )


def check_policies(model: Any, policies: Sequence[dict[str, Any]], place: str) -> None:
    """Refuse exit policies that do not fit a model, before any compute.

    Args:
        model: its configuration.
        policies: specifications.
        place: key of the recipe that gave them.
    """
    import torch

    from ..exits.policies import registry

    exits = len(model.exit_layers)
    logits = torch.zeros(exits, 1, model.num_labels)
    certainty = torch.zeros(exits, 1) if model.exit_certainty else None
    for spec in policies:
        policy = registry.build(spec)
        if policy.needs_certainty and certainty is None:
            raise RecipeError(
                f"{place}: the exit policy {spec['name']!r} reads how sure exits are that they are right, "
                "and the model's do not say it",
                "put learn_to_exit into stages, before evaluate and behind what makes the exits",
            )
        try:
            policy.check(exits)
            policy.exits(logits, certainty)
        except (IndexError, TypeError, ValueError) as error:
            said = error.message if isinstance(error, RecipeError) else error
            raise RecipeError(
                f"{place}: {spec} does not fit a model of {exits} exits: {said}",
                "a threshold is a number, or a list with one for each exit but the last",
            ) from error


def _stage_records(context: StageContext) -> list[StageRecord]:
    """The stages before this one, as their ``done.json`` tells."""
    from ..reports import StageRecord
    from ..runs.records import StageDone, read_record

    records = []
    for number, key in enumerate(context.recipe.stages, 1):
        if key == context.key:
            break
        done = context.run_folder / "stages" / f"{number}-{key}" / "done.json"
        told = read_record(done, StageDone, "apply the recipe again").model_dump()
        numbers: dict[str, float | None] = {
            k: v for k, v in told.items() if isinstance(v, int | float) and k not in ("seconds", "steps")
        }
        records.append(StageRecord(key, told["seconds"], told.get("steps"), numbers))
    return records
