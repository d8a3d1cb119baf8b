"""The contract of a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from ...exits import MultiExitOutput
    from ..teachers import TeacherOutput


class Match(Protocol):
    """How a student is set against a teacher of other depth or width."""

    layers: list[int]
    """The teacher's layer, from 1, for each of the student's."""

    def widened(self, name: str, hidden: Tensor) -> Tensor:
        """The student's hidden states ``[B, T, H']`` in the teacher's width ``[B, T, H]``."""

    def attention_scores(
        self, states: Sequence[Tensor], taught: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Scores before the softmax, ``[B, A, T, T]`` of each layer, of the student and of the teacher."""


class Loss(ABC):
    """One term of what is minimised. It is called with a batch's outputs, in training and for importance.

    Attributes:
        label: what logs and messages call it; default: the name of the class.
        unit: what its values are counted in: ``"exit"``, one for each exit, or ``"layer"``. What is counted
            by layer can be learned before the exits are; a scalar may be either.
        first: number of the first of its values; 0 for a loss that begins with the embedding output.
        needs_teacher: it reads the teacher's answers.
        needs_hidden_states: it reads the hidden states of the student, and of the teacher if it needs one.
        needs_match: it compares models of other depth or width, through ``match``.
        projections: matrices of its match that it trains, ``"embeddings"`` and ``"hidden"``; they are there
            only where the widths differ.
        match: set before training where student and teacher are matched (stage ``distill``), else ``None``.
    """

    label: ClassVar[str] = ""
    unit: ClassVar[Literal["exit", "layer"]] = "exit"
    first: ClassVar[int] = 1
    needs_teacher: ClassVar[bool] = True
    needs_hidden_states: ClassVar[bool] = False
    needs_match: ClassVar[bool] = False
    projections: ClassVar[tuple[str, ...]] = ()
    match: Match | None = None

    @abstractmethod
    def __call__(
        self, output: MultiExitOutput, taught: TeacherOutput | None, batch: Mapping[str, Any]
    ) -> Tensor:
        """The loss, differentiable: one value per exit ``[E]`` or per layer, which are summed; or a scalar.

        Args:
            output: the student's, with ``exit_logits`` ``[E, B, C]``, and ``hidden_states``, ``L + 1`` of
                ``[B, T, H]``, the embedding output first, where it needs them.
            taught: the teacher's answers in float32; ``None`` where no loss needs any.
            batch: ``attention_mask`` ``[B, T]``, ``labels`` int64 ``[B]`` (-100: none), ...
        """


def answers(taught: TeacherOutput | None) -> TeacherOutput:
    """The teacher's answers, of a loss that needs some."""
    if taught is None:
        raise ValueError("this loss reads a teacher, and there is none")
    return taught


def states(output: MultiExitOutput | TeacherOutput) -> tuple[Tensor, ...]:
    """The hidden states, of a loss that needs some."""
    if output.hidden_states is None:
        raise ValueError("this loss reads hidden states, and the output holds none")
    return output.hidden_states


def exit_logits(output: MultiExitOutput) -> Tensor:
    """Logits of all exits, ``[E, B, C]``."""
    if output.exit_logits is None:
        raise ValueError("a loss reads all exits, and the model gave one: call it with all_exits=True")
    return output.exit_logits
