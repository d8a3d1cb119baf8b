"""Teachers: what a distillation loss asks for a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class TeacherOutput:
    """What a teacher says about a batch.

    Attributes:
        exit_logits: ``[E, B, C]``; a single-exit teacher has one exit.
        hidden_states: ``L + 1`` of ``[B, T, H]``, the embedding output first; ``None`` where not asked for.
    """

    exit_logits: Tensor
    hidden_states: tuple[Tensor, ...] | None = None

    @property
    def logits(self) -> Tensor:
        """The final prediction, ``[B, C]``."""
        return self.exit_logits[-1]


class Teacher(ABC):
    """Gives its predictions and hidden states for a batch in float32, free of dropout and of gradients."""

    @abstractmethod
    def __call__(self, batch: Mapping[str, Any], hidden_states: bool = False) -> TeacherOutput:
        """Answers for a batch of ``input_ids``, ``attention_mask``, ... and ``index`` (rows of the split)."""


class LiveTeacher(Teacher):
    """A teacher that runs its model on every batch; it answers in float32.

    Args:
        model: multi-exit; put into evaluation mode, its gradients switched off.
        computing: a new context for each run of the model, such as autocast; its caller's if omitted.
    """

    def __init__(
        self, model: nn.Module, computing: Callable[[], AbstractContextManager[Any]] = nullcontext
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.computing = computing

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Any], hidden_states: bool = False) -> TeacherOutput:
        with self.computing():
            output = self.model(**model_inputs(batch), all_exits=True, output_hidden_states=hidden_states)
        states = tuple(state.float() for state in output.hidden_states) if hidden_states else None
        return TeacherOutput(output.exit_logits.float(), states)


def computing(device: torch.device, autocast: torch.dtype | None) -> AbstractContextManager[Any]:
    """Autocast to a number type, or ``None``: in float32, also where the caller is under autocast."""
    return torch.autocast(device.type, autocast, enabled=autocast is not None)


def model_inputs(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """The part of a batch that a model's forward takes: no labels, no ``index``."""
    return {name: batch[name] for name in INPUTS if batch.get(name) is not None}
