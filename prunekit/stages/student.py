"""The student of a distillation, made of the original or read from a checkpoint of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from pydantic import Field, field_validator, model_validator

from ..errors import CheckpointError, RecipeError
from ..exits import ExitsConfig
from . import register
from .base import Stage, StageConfig, StageContext

if TYPE_CHECKING:
    from ..architectures import Narrowing
    from ..exits import ExitHead, MultiExitForSequenceClassification
    from ..models import ModelConfig
    from ..planning import Plan, Work
    from ..recipes import Recipe


class StudentConfig(StageConfig):
    """Settings of the stage."""

    layers: int | list[int] | None = Field(
        None,
        description="the original's layers it takes: how many, evenly (the last one included), or a list "
        "counted from 1; default: all",
    )
    hidden_size: int | None = Field(
        None, ge=1, description="hidden dimensions it keeps: those of the largest magnitude; default: all"
    )
    heads: int | None = Field(
        None,
        ge=1,
        description="attention heads of every layer, hidden_size / heads wide but never wider than the "
        "original's; default: as many as there are",
    )
    neurons: int | None = Field(None, ge=1, description="FFN neurons every layer keeps; default: all")
    name: str | None = Field(
        None,
        description="instead: a folder, or a name on the Hugging Face hub, of a checkpoint with the same "
        "tokenizer; it gets a new exit",
    )

    @field_validator("layers")
    @classmethod
    def _some_layers(cls, value: int | list[int] | None) -> int | list[int] | None:
        if value == [] or (isinstance(value, int) and value < 1):
            raise ValueError("a student has at least one layer")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> StudentConfig:
        sizes = [
            key for key in ("layers", "hidden_size", "heads", "neurons") if getattr(self, key) is not None
        ]
        if self.name is not None and sizes:
            raise ValueError(
                f"name is given together with {', '.join(sizes)}: a checkpoint has its own sizes"
            )
        if self.name is None and not sizes:
            raise ValueError(
                "nothing says what the student is: give layers, hidden_size, heads, neurons or name"
            )
        return self

    def narrowing(self, depth: int) -> Narrowing:
        """The sizes, for an original of ``depth`` layers."""
        from ..architectures import Narrowing, even_layers

        layers = self.layers
        if isinstance(layers, int):
            if layers > depth:
                raise RecipeError(
                    f"student.layers: {layers} asked for, and the original has {depth}", f"give 1 to {depth}"
                )
            layers = even_layers(layers, depth)
        return Narrowing(layers, self.hidden_size, self.heads, self.neurons)


@register("student")
class Student(Stage):
    """Make the student of a distillation: fewer layers, a narrow slice of the original, or a checkpoint.

    It has one exit, at its end: made of the original, that exit too is the original's, on the hidden
    dimensions that are left.
    """

    Config = StudentConfig
    needs: tuple[str, ...] = ("original",)
    config: StudentConfig

    def __init__(self, config: StudentConfig) -> None:
        super().__init__(config)
        if config.name is not None:
            self.needs = ()

    def start_models(self, recipe: Recipe, key: str) -> dict[str, ModelConfig]:
        """The checkpoint, where it is one."""
        return {} if self.config.name is None else {f"{key}.name": self._checkpoint(recipe)}

    def inputs(self, recipe: Recipe, key: str) -> dict[str, Any]:
        """The recipe's exits count where a new one is made."""
        exits = None if self.config.name is None else _last(recipe.exits).model_dump(mode="json")
        return {**super().inputs(recipe, key), "exits": exits}

    def plan(self, plan: Plan) -> list[Work]:
        """No training."""
        from ..models import skeleton

        if self.config.name is not None:
            plan.model = skeleton(self._checkpoint(plan.recipe), plan.vocab_size)
            plan.put_exits(_last(plan.recipe.exits))
        else:
            config = plan.model.config
            plan.start_anew()
            plan.put_exits(ExitsConfig(layers="last", head=config.exit_head, reads=config.exit_reads))
            plan.model = narrow(plan.model, self.config)
        return []

    def run(self, context: StageContext) -> None:
        """Cut or load it; nothing is trained."""
        if self.config.name is not None:
            model = self._loaded(context)
        else:
            model = narrow(context.load("original"), self.config)
        context.publish(model, "model")
        context.summary.update(parameters=sum(p.numel() for p in model.parameters()))

    def _checkpoint(self, recipe: Recipe) -> ModelConfig:
        return recipe.model.model_copy(update={"name": self.config.name, "revision": None, "config": {}})

    def _loaded(self, context: StageContext) -> MultiExitForSequenceClassification:
        """The checkpoint, with a new exit at its end."""
        from ..architectures import longest_input
        from ..exits import MultiExitForSequenceClassification
        from ..models import load_backbone, load_tokenizer

        source = self._checkpoint(context.recipe)
        if not source.is_builtin and load_tokenizer(source).get_vocab() != context.tokenizer.get_vocab():
            raise CheckpointError(
                f"the student {source.name} has another vocabulary than {context.recipe.model.name}",
                "a student reads the same tokens as its teacher: give a checkpoint with the same tokenizer",
            )
        torch.manual_seed(context.seed("weights"))
        backbone = load_backbone(source, len(context.tokenizer))
        limit, wanted = longest_input(backbone), context.training.max_length
        if limit is not None and limit < wanted:
            raise RecipeError(
                f"student.name: {source.name} takes at most {limit} tokens, training.max_length is {wanted}",
                f"set training.max_length={limit} or less",
            )
        exits, names = _last(context.recipe.exits), context.task.task.label_names
        model: Any = MultiExitForSequenceClassification.from_backbone(
            backbone, exit_layers="last", head=exits.head, reads=exits.reads, dropout=exits.dropout,
            label_names=names,
        )  # fmt: skip
        return cast("MultiExitForSequenceClassification", model.to(context.device()))


def narrow(
    model: MultiExitForSequenceClassification, config: StudentConfig
) -> MultiExitForSequenceClassification:
    """A smaller copy of a model, with the last one of its exits."""
    from ..architectures import narrowed
    from ..exits import MultiExitForSequenceClassification

    backbone, keep = narrowed(model, config.narrowing(model.config.num_hidden_layers))
    old = model.config
    head = cast("ExitHead", model.exits[-1])
    # Else the new head would be made with values where the model has none.
    with torch.device(backbone.device):
        student = MultiExitForSequenceClassification.from_backbone(
            backbone,
            exit_layers="last",
            head=old.exit_head,
            reads=old.exit_reads,
            dropout=old.exit_dropout,
            label_names=list((old.id2label or {}).values()),
        )
    student.exits[-1].load_state_dict(head.narrowed_state(keep.to(backbone.device)))
    return student.eval()


def _last(exits: ExitsConfig) -> ExitsConfig:
    return exits.model_copy(update={"layers": "last"})
