"""A student set against a teacher of other depth and width: layer maps, projections, losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...architectures import architecture_of, even_layers, shape_of
from ...distill import TeacherOutput, attention_loss, cosine_loss, feature_loss
from ...errors import RecipeError
from ...exits import MultiExitForSequenceClassification, MultiExitOutput
from .objectives import Batch, Term

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

    def embeddings(self, weight: float = 1.0) -> Term:
        """Mean squared error of the embedding output (TinyBERT, Eq. 9)."""
        return self._term("embeddings", self._embeddings, weight)

    def hidden(self, weight: float = 1.0) -> Term:
        """Mean squared error of every layer's hidden states with those of the teacher's layer (Eq. 8)."""
        return self._term("hidden", self._hidden, weight)

    def attention(self, weight: float = 1.0) -> Term:
        """Mean squared error of every layer's attention scores before the softmax (TinyBERT, Eq. 7).

        Raises:
            RecipeError: the numbers of heads differ.
        """
        if weight:
            own, theirs = ([layer.num_attention_heads for layer in shape.layers]
                           for shape in (self._shape, self._teacher_shape))  # fmt: skip
            check_heads(own, theirs, self.layers)
        return self._term("attention", self._attention, weight)

    def cosine(self, weight: float = 1.0) -> Term:
        """Angle between the last layer's hidden states and those of the teacher's layer (DistilBERT)."""
        return self._term("cosine", self._cosine, weight, unit="exit")

    @contextmanager
    def attached(self, *terms: Term) -> Iterator[None]:
        """Train the projections that the terms use along with the student, for a block of code.

        They hang on the student as a submodule, so that the optimizer has them and checkpoints hold them;
        then they are taken off, and no model that is saved has them.
        """
        used = {term.name for term in terms if term.weight}
        names = {"embeddings": {"embeddings"}, "hidden": {"hidden", "cosine"}}
        wanted = {name: module for name, module in self.projections.items() if names[name] & used}
        if not wanted:
            yield
            return
        self.student.add_module(ATTACHED, nn.ModuleDict(wanted))
        try:
            yield
        finally:
            delattr(self.student, ATTACHED)

    # -- the losses

    def _term(
        self,
        name: str,
        loss: Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], Tensor],
        weight: float,
        unit: str = "layer",
    ) -> Term:
        def of_outputs(output: MultiExitOutput, taught: TeacherOutput | None, batch: Batch) -> Tensor:
            assert taught is not None and taught.hidden_states is not None
            assert output.hidden_states is not None
            return loss(output.hidden_states, taught.hidden_states, batch["attention_mask"])

        return Term(name, of_outputs, weight, unit=unit, teacher=True, states=True)

    def _widened(self, name: str, hidden: Tensor) -> Tensor:
        return self.projections[name](hidden) if name in self.projections else hidden

    def _embeddings(self, states: Sequence[Tensor], taught: Sequence[Tensor], mask: Tensor) -> Tensor:
        return feature_loss([self._widened("embeddings", states[0])], [taught[0]], mask)

    def _hidden(self, states: Sequence[Tensor], taught: Sequence[Tensor], mask: Tensor) -> Tensor:
        own = [self._widened("hidden", state) for state in states[1:]]
        return feature_loss(own, [taught[number] for number in self.layers], mask, "none")

    def _attention(self, states: Sequence[Tensor], taught: Sequence[Tensor], mask: Tensor) -> Tensor:
        # A layer's attention reads what the layer before it gave.
        own = _scores(self.student, range(1, len(states)), states)
        with torch.no_grad():
            theirs = _scores(self.teacher, self.layers, taught)
        return attention_loss(own, theirs, mask, "none")

    def _cosine(self, states: Sequence[Tensor], taught: Sequence[Tensor], mask: Tensor) -> Tensor:
        return cosine_loss(self._widened("hidden", states[-1]), taught[self.layers[-1]], mask)


def _scores(model: Any, numbers: Sequence[int], states: Sequence[Tensor]) -> list[Tensor]:
    architecture = architecture_of(model)
    layers = architecture.layers(model.backbone)
    return [architecture.attention_scores(layers[n - 1], states[n - 1]) for n in numbers]
