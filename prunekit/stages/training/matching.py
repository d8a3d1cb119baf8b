"""A student set against a teacher of other depth and width: layer maps, projections, losses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...architectures import architecture_of, even_layers, shape_of
from ...distill.losses import Loss
from ...distill.losses.matched import Attention
from ...errors import RecipeError
from ...exits import MultiExitForSequenceClassification
from .objectives import Term

LayerMap = Literal["uniform", "last"] | list[int]
# Where the projections hang on the student while it is trained.
ATTACHED = "distillation"


def mapped_layers(layer_map: LayerMap, layers: int, teacher_layers: int) -> list[int]:
    """The teacher's layer (from 1) that each of the student's learns from.

    ``"uniform"``: layer ``m`` from ``round(m * L / M)``, TinyBERT's; ``"last"``: from the teacher's last M.

    Raises:
        RecipeError: the list names a layer that is not there, or has another length; or the student is
            deeper than the teacher.
    """
    if isinstance(layer_map, list):
        numbers = list(layer_map)
        if len(numbers) != layers or min(numbers) < 1 or max(numbers) > teacher_layers:
            raise RecipeError(
                f"distill.layer_map: {numbers} does not give each of the student's {layers} layers one of "
                f"the teacher's {teacher_layers}",
                f"give {layers} numbers from 1 to {teacher_layers}",
            )
        return numbers
    if layers > teacher_layers:
        raise RecipeError(
            f"distill.layer_map: the student has {layers} layers, the teacher only {teacher_layers}",
            "give a list: the teacher's layer for each of the student's",
        )
    if layer_map == "last":
        return list(range(teacher_layers - layers + 1, teacher_layers + 1))
    return even_layers(layers, teacher_layers)


def check_heads(heads: Sequence[int], teacher_heads: Sequence[int], layers: Sequence[int]) -> None:
    """Attention is compared head by head, so the numbers must be the same.

    Args:
        heads: of each of the student's layers.
        teacher_heads: of each of the teacher's.
        layers: the teacher's layer for each of the student's, from 1.

    Raises:
        RecipeError: they differ.
    """
    for place, (own, number) in enumerate(zip(heads, layers, strict=True), 1):
        if own != teacher_heads[number - 1]:
            raise RecipeError(
                f"distill.attention: the student's layer {place} has {own} heads and the teacher's layer "
                f"{number} has {teacher_heads[number - 1]}; attention is compared head by head",
                "give the student as many heads (narrower ones, with a smaller hidden_size), or set "
                "attention to 0",
            )


class Matching:
    """Which layers are compared, and through what.

    Args:
        student: what is trained.
        teacher: its model; for attention, whose scores are computed from the hidden states it gave.
        layer_map: see :func:`mapped_layers`.

    Attributes:
        layers: the teacher's layer for each of the student's, from 1.
        projections: where the widths differ, a matrix for the embedding output and one that all layers
            share (TinyBERT's W_e and W_h, Eq. 8 and 9), drawn from torch's seed; else empty.
    """

    def __init__(
        self,
        student: MultiExitForSequenceClassification,
        teacher: MultiExitForSequenceClassification,
        layer_map: LayerMap = "uniform",
    ) -> None:
        self.student, self.teacher = student, teacher
        self._shape, self._teacher_shape = shape_of(student), shape_of(teacher)
        self.layers = mapped_layers(layer_map, len(self._shape.layers), len(self._teacher_shape.layers))
        width, wide = self._shape.hidden_size, self._teacher_shape.hidden_size
        self.projections = nn.ModuleDict()
        if width != wide:
            for name in ("embeddings", "hidden"):
                self.projections[name] = nn.Linear(width, wide, bias=False).to(student.device)

    def term(self, loss: Loss, weight: float = 1.0) -> Term:
        """A loss between the two; TinyBERT's and DistilBERT's need it.

        Raises:
            RecipeError: attention is to be compared, and the numbers of heads differ.
        """
        if weight and isinstance(loss, Attention):
            own, theirs = ([layer.num_attention_heads for layer in shape.layers]
                           for shape in (self._shape, self._teacher_shape))  # fmt: skip
            check_heads(own, theirs, self.layers)
        loss.match = self
        return Term(loss, weight)

    @contextmanager
    def attached(self, *terms: Term) -> Iterator[None]:
        """Train the projections that the terms use along with the student, for a block of code.

        They hang on the student as a submodule, so that the optimizer has them and checkpoints hold them;
        then they are taken off, and no model that is saved has them.
        """
        used = {name for term in terms if term.weight for name in term.loss.projections}
        wanted = {name: module for name, module in self.projections.items() if name in used}
        if not wanted:
            yield
            return
        self.student.add_module(ATTACHED, nn.ModuleDict(wanted))
        try:
            yield
        finally:
            delattr(self.student, ATTACHED)

    def widened(self, name: str, hidden: Tensor) -> Tensor:
        """The student's hidden states in the teacher's width, by the projection of that name."""
        return self.projections[name](hidden) if name in self.projections else hidden

    def attention_scores(
        self, states: Sequence[Tensor], taught: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Scores before the softmax of every layer of the student's, and of the teacher's layer for it."""
        # A layer's attention reads what the layer before it gave.
        own = _scores(self.student, range(1, len(states)), states)
        with torch.no_grad():
            return own, _scores(self.teacher, self.layers, taught)


def _scores(model: Any, numbers: Sequence[int], states: Sequence[Tensor]) -> list[Tensor]:
    architecture = architecture_of(model)
    layers = architecture.layers(model.backbone)
    return [architecture.attention_scores(layers[n - 1], states[n - 1]) for n in numbers]
