"""What a recipe will do, worked out on shapes alone: no weights are read and nothing is trained.

The same walk through the stages checks a recipe before it is applied: budgets that the model cannot meet,
exits on layers it does not have, inputs longer than it takes.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .errors import BudgetError, PrunekitError, RecipeError, first_line
from .machine import memory_bytes
from .recipes import Recipe
from .text import shown

if TYPE_CHECKING:
    from .budgets import Budget
    from .data import AugmentationConfig, EncodedTask
    from .exits import ExitsConfig
    from .reports import ModelFigures
    from .stages.distillation import Taught

logger = logging.getLogger(__name__)

_MOST_PARAMETERS = 10**12
# Of training in float32: the weight, its gradient, and what AdamW keeps.
_BYTES_EACH = 16
# Messages that begin with the key they are about: "data.train_file: ...", "sizes.heads: ...".
_KEY = re.compile(r"(\w+(?:\.\w+)+): (.*)", re.DOTALL)


@dataclass(frozen=True)
class Work:
    """A training run of a stage.

    Attributes:
        what: in a word or two, e.g. ``"features"``.
        epochs: of one time.
        learning_rate: at the end of the warm-up; first and last where it changes from time to time.
        times: how often it is done.
    """

    what: str
    epochs: float
    learning_rate: float | tuple[float, float]
    times: int = 1


@dataclass(frozen=True)
class PlannedStage:
    """A stage, the training it does, and the model it leaves (``None``: only scores will tell its sizes)."""

    key: str
    summary: str
    works: list[Work]
    figures: ModelFigures | None


@dataclass
class Plan:
    """A walk through the stages, which change :attr:`model` as they would change the real one.

    Attributes:
        recipe: what is planned.
        model: the model so far on the meta device, with exits.
        original: figures of the dense model that all is set against, as in the report: what the stage that
            gives the original leaves; before it, and without it, the model as published.
        task: encoded examples, if they were read.
        label_names: of the classes, where they are known; two are assumed where they are not.
        stages: what was planned so far.
        sizes_known: whether the model's sizes are settled before anything is scored.
        teachers: configurations of the models that later stages learn from, by role, e.g. ``"assistant"``.
        cached: bytes on the disk of each teacher's answers to one set of examples, where they are kept and
            the examples were read.
        vocab_size: of the tokenizer, which decides the built-in encoder's embedding.
    """

    recipe: Recipe
    model: Any
    original: ModelFigures
    task: EncodedTask | None = None
    label_names: list[str] | None = None
    stages: list[PlannedStage] = field(default_factory=list)
    sizes_known: bool = True
    teachers: dict[str, Any] = field(default_factory=dict)
    cached: dict[str, int] = field(default_factory=dict)
    vocab_size: int | None = None

    def start_anew(self) -> None:
        """Go back to the recipe's backbone, as it is before the first stage."""
        from .models import skeleton

        self.model, self.sizes_known = skeleton(self.recipe.model, self.vocab_size), True

    def put_exits(self, exits: ExitsConfig) -> None:
        """Give the model other exits."""
        self.model = _with_exits(exits, self.model, self.label_names)

    def slim(self, granularities: Sequence[Any], budget: Budget) -> None:
        """Slim the model to a budget, or note that its sizes depend on scores, which only data gives.

        Raises:
            BudgetError: the model cannot meet it.
        """
        from .granularities import registry

        groups = [group for spec in granularities for group in registry.build(spec).groups(self.model)]
        budget.check(self.model, groups)
        try:
            sizes = budget.sizes(self.model, groups)
        except BudgetError:
            # It can be met, as was just checked: what is missing is scores.
            self.sizes_known = False
            return
        for group in groups:
            group.keep(torch.arange(sizes[group.name]))

    @property
    def steps_per_epoch(self) -> int | None:
        """Optimizer steps that take every training example once, if the examples were read."""
        if self.task is None:
            return None
        training = self.recipe.training
        batches = math.ceil(len(self.task.train) / training.batch_size)
        return math.ceil(batches / training.gradient_accumulation)

    def steps(self, work: Work) -> int | None:
        """Optimizer steps of a training run, all times together."""
        if self.steps_per_epoch is None:
            return None
        return math.ceil(round(work.epochs * self.steps_per_epoch, 6)) * work.times

    def check_copies(self, augmentation: AugmentationConfig | None) -> None:
        """Raise ``RecipeError`` if copies of the task's examples would be the examples themselves."""
        if augmentation is None or self.task is None:
            return
        if not augmentation.changes(self.task.task.is_pair):
            kind = "pairs" if self.task.task.is_pair else "singles"
            raise RecipeError(
                f"augmentation.replaced: 0, and .{kind} keeps every text: the copies "
                "would be the examples themselves",
                "give the share of the tokens that are replaced, such as 0.6",
            )

    def ask_teacher(self, stage: Taught, augmentation: AugmentationConfig | None = None) -> None:
        """Check what a teacher is asked about; count its answers on the disk, if ``cache`` keeps them.

        Copies of the training examples are as long as they are, joined ones nearly twice that, unless too
        long and cut: so this is the most that the answers take.
        """
        if self.task is None:
            return
        self.check_copies(augmentation)
        if stage.cache == "off":
            return
        from .distill.cache import CacheShape

        role, precision = stage.teacher, stage.cache_precision
        config, tokens = self.teachers[role], self.task.lengths("train")
        copies = [] if augmentation is None else augmentation.arrangements(self.task.task.is_pair)
        asked = role if precision == "float32" else f"{role}, {precision}"
        asked = asked if augmentation is None else f"{asked}, {augmentation.model_dump_json()}"
        self.cached[asked] = CacheShape(
            tokens=(1 + len(copies) + copies.count("join")) * int(tokens.sum()),
            examples=(1 + len(copies)) * len(tokens),
            states=config.num_hidden_layers + 1,
            hidden_size=config.hidden_size,
            exits=len(config.exit_layers),
            classes=config.num_labels,
            precision=precision,
        ).nbytes


def plan(recipe: Recipe, task: EncodedTask | None = None, vocab_size: int | None = None) -> Plan:
    """Walk through a recipe's stages on shapes.

    Args:
        recipe: what to plan.
        task: its encoded examples, for numbers of steps and sizes on the disk.
        vocab_size: of the tokenizer, which decides the built-in encoder's embedding.

    Raises:
        PrunekitError: naming the key of the recipe that cannot be followed.
    """
    from .architectures import shape_of
    from .models import check_tokens, skeleton
    from .reports import model_figures

    with located(recipe, "model", "name"):
        backbone = skeleton(recipe.model, vocab_size)
        _check_length(recipe, backbone)
        _check_runs(backbone)
        if task is not None:
            check_tokens(task, backbone, recipe.model.name)
        _check_size(backbone, recipe.model.name)
    shape = shape_of(backbone)
    names = _label_names(recipe, task)
    original = model_figures(_published(recipe, vocab_size, names), "original")
    planned = Plan(recipe, backbone, original, task, names, vocab_size=vocab_size)
    for key in recipe.stages:
        kind = recipe.stage_class(key)
        stage = kind(recipe.config(key))
        with located(recipe, key):
            works = stage.plan(planned)
        figures = model_figures(planned.model, key, before=shape) if planned.sizes_known else None
        if figures is not None and "original" in stage.gives and "original" not in planned.teachers:
            planned.original = figures
        for role in stage.gives:
            # An original that is there stays.
            planned.teachers.setdefault(role, planned.model.config)
        summary = (kind.__doc__ or "").strip().split("\n", 1)[0]
        planned.stages.append(PlannedStage(key, summary, works, figures))
    return planned


def _label_names(recipe: Recipe, task: EncodedTask | None) -> list[str] | None:
    """Names of the classes: the examples', the recipe's, or GLUE's."""
    from .data.glue import GLUE_TASKS

    if task is not None:
        return task.task.label_names
    glue = GLUE_TASKS.get(recipe.data.task)
    return recipe.data.label_names or (None if glue is None else list(glue.label_names))


def _published(recipe: Recipe, vocab_size: int | None, names: list[str] | None) -> Any:
    """The model as published: transformers' own classifier of the family, pooler and all.

    One that prunekit wrote is taken as it is, with one exit at its end.
    """
    from transformers import AutoModelForSequenceClassification

    from .models import built, load_config, skeleton

    config = load_config(recipe.model, vocab_size)
    if config.model_type.startswith("prunekit"):
        last = recipe.exits.model_copy(update={"layers": "last"})
        return _with_exits(last, skeleton(recipe.model, vocab_size), names)
    config.num_labels = 2 if names is None else len(names)
    with torch.device("meta"):
        return built(recipe.model, config, AutoModelForSequenceClassification)


def _with_exits(exits: ExitsConfig, model: Any, names: list[str] | None) -> Any:
    from .architectures import architecture_of
    from .exits import MultiExitForSequenceClassification

    backbone = getattr(model, "backbone", model)
    if exits.reads == "first" and architecture_of(backbone).causal:
        raise RecipeError(
            f"exits.reads: first, and {type(backbone).__name__} is causal: its first token sees no other, so "
            "that all texts would get the same answer",
            "set exits.reads=last, or mean",
        )
    with torch.device("meta"):
        try:
            return MultiExitForSequenceClassification.from_backbone(
                backbone,
                exit_layers=exits.layers,
                head=exits.head,
                reads=exits.reads,
                label_names=names,
            )
        except ValueError as error:
            raise RecipeError(f"exits.layers: {error}") from error


def _check_length(recipe: Recipe, backbone: nn.Module) -> None:
    from .architectures import longest_input

    limit = longest_input(backbone)
    if limit is not None and recipe.training.max_length > limit:
        raise RecipeError(
            f"training.max_length: {recipe.training.max_length} tokens, and the model "
            f"{recipe.model.name} takes at most {limit}",
            f"set training.max_length={limit} or less",
        )


def _check_size(backbone: nn.Module, name: str) -> None:
    """Refuse a model that no machine holds; warn of one that this machine's memory does not.

    Raises:
        RecipeError: beyond a trillion parameters.
    """
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    if parameters > _MOST_PARAMETERS:
        raise RecipeError(
            f"the model {name} has {parameters:,} parameters: more than any machine can train",
            "look at the sizes in model.config, and in the model's config.json",
        )
    _warn_of_memory(name, parameters)


@cache
def _warn_of_memory(name: str, parameters: int) -> None:
    """Once, however often a model is planned."""
    needed, there = _BYTES_EACH * parameters, memory_bytes()
    if there is not None and needed > there:
        logger.warning(
            "training %s takes about %.0f GiB (%d bytes a parameter), and this machine has %.0f GiB",
            name, needed / 2**30, _BYTES_EACH, there / 2**30,
        )  # fmt: skip


@torch.no_grad()
def _check_runs(backbone: Any) -> None:
    """Run the model on shapes alone: what its configuration says wrongly shows here, and not in training.

    Raises:
        RecipeError: it cannot be run.
    """
    from .architectures import architecture_of

    architecture, training = architecture_of(backbone), backbone.training
    try:
        with torch.device("meta"):
            ids = torch.ones(2, 3, dtype=torch.int64)
            hidden, contexts = architecture.embed(backbone.eval(), {"input_ids": ids})
            for layer, context in zip(architecture.layers(backbone), contexts, strict=True):
                hidden = architecture.run_layer(layer, hidden, context)
            architecture.finish(backbone, hidden)
    except PrunekitError:
        raise
    except Exception as error:  # whatever the model's modules raise
        raise RecipeError(
            f"the model cannot be run as its configuration describes it: {type(error).__name__}: "
            f"{shown(first_line(error))}",
            "look at the model's config.json, and at model.config and model.attention in the recipe",
        ) from error
    finally:
        backbone.train(training)


@contextmanager
def located(recipe: Recipe, *path: str) -> Iterator[None]:
    """Errors raised inside name the place in the recipe: of the key they begin with, else of ``path``.

    An error that begins with no key, inside of no ``path``, stays as it is.
    """
    try:
        yield
    except PrunekitError as error:
        match = _KEY.fullmatch(error.message)
        if match is not None:
            # A budget names its own arguments: "sizes.heads" is slenderize.heads, or that of its budget.
            key = tuple(match[1].split("."))
            places = (key, (*path, *key[1:]), (*path, "budget", *key[1:]), (*path, "budget"))
            place = next((place for place in places if recipe.is_set(*place)), None)
            if place is None:
                place = key if key[0] in type(recipe).model_fields else None
            if place is not None:
                path, error.message = place, match[2]
        if path:
            error.message = f"{recipe.location(*path)}: {error.message}"
        error.args = (error.message,)
        raise
