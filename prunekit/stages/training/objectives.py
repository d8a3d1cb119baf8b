"""What is minimised: a weighted sum of losses, each a value per exit or per layer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...distill import Teacher, TeacherOutput, model_inputs
from ...distill.losses import Loss, registry
from ...distill.losses.features import Features
from ...distill.losses.ground_truth import ExitWeights, GroundTruth
from ...distill.losses.predictions import Predictions
from ...errors import RecipeError
from ...exits import MultiExitOutput
from .attention import trained_attention

Batch = Mapping[str, Any]


@dataclass(frozen=True)
class Term:
    """One part of an objective.

    Args:
        loss: its values are summed.
        weight: of the sum.
        since: it counts from this part of a training run on, 0 to 1.
        but_last: of a loss counted by exit, the last exit's value is left out.
    """

    loss: Loss
    weight: float = 1.0
    since: float = 0.0
    but_last: bool = False

    @property
    def name(self) -> str:
        """In logs and messages, e.g. ``"features"``."""
        return self.loss.label or type(self.loss).__name__

    def values(self, output: MultiExitOutput, taught: TeacherOutput | None, batch: Batch) -> Tensor:
        """Weighted: one per exit ``[E]`` or per hidden state ``[L + 1]``, or a scalar."""
        values = self.weight * self.loss(output, taught, batch)
        return values[:-1] if self.but_last else values


def truth(weight: float = 1.0, since: float = 0.0, exit_weights: ExitWeights = "equal") -> Term:
    """Cross-entropy of every exit with the labels."""
    return Term(GroundTruth(exit_weights), weight, since)


def predictions(
    weight: float = 1.0, temperature: float = 1.0, *, final: bool = False, since: float = 0.0
) -> Term:
    """Soft cross-entropy of every exit with the teacher's same exit, or with its final prediction."""
    return Term(Predictions(temperature, final), weight, since)


def features(weight: float = 1.0, since: float = 0.0) -> Term:
    """Mean squared error of the embedding output and every layer's hidden states."""
    return Term(Features(), weight, since)


def but_last(term: Term) -> Term:
    """A term that is counted by exit, without the last exit's part."""
    return replace(term, but_last=True)


def term_of(spec: str | Mapping[str, Any], since: float = 0.0) -> Term:
    """A term of a recipe's specification.

    Args:
        spec: a name, or a mapping of name, weight (1 where it does not say) and the loss's arguments.
        since: where the loss is counted by exit.

    Raises:
        RecipeError: there is no such loss, or it cannot be made with these arguments.
    """
    given = {"name": spec} if isinstance(spec, str) else dict(spec)
    weight = given.pop("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
        raise RecipeError(f"the weight of a loss is a number from 0 on, not {weight!r}")
    try:
        loss = registry.build(given)
    except RecipeError:
        raise
    except Exception as error:  # of somebody's own class
        raise RecipeError(f"the loss {given['name']!r} cannot be made: {error}") from error
    if "weight" in inspect.signature(type(loss)).parameters:
        raise RecipeError(
            f"the loss {given['name']!r} has an argument 'weight', which is that of the term",
            "give the argument another name",
        )
    return Term(loss, float(weight), since if loss.unit == "exit" else 0.0)


class Objective:
    """A weighted sum of terms: one forward pass of the student, and one answer of the teacher.

    Args:
        terms: those of weight 0 are left out.
        teacher: needed if a term reads it.
    """

    def __init__(self, terms: Sequence[Term], teacher: Teacher | None = None) -> None:
        self.terms = [term for term in terms if term.weight]
        self.teacher = teacher
        if not self.terms:
            raise ValueError("an objective needs a term whose weight is not 0")
        names = [term.name for term in self.terms]
        if len(set(names)) < len(names):
            raise ValueError(f"terms of an objective need names of their own, and these are {names}")
        if teacher is None and any(term.loss.needs_teacher for term in self.terms):
            raise ValueError("an objective with distillation needs a teacher")

    def parts(self, model: nn.Module, batch: Batch, progress: float = 1.0) -> dict[str, Tensor]:
        """The weighted terms: name -> ``[E]``, ``[L + 1]`` or scalar.

        Args:
            model: a multi-exit model, possibly wrapped.
            batch: tensors, ``labels`` and ``index`` included.
            progress: how much of the training run is done, 0 to 1; it decides which terms count.
        """
        active = [term for term in self.terms if term.since <= progress]
        states = any(term.loss.needs_hidden_states for term in active)
        taught = None
        if self.teacher is not None and any(term.loss.needs_teacher for term in active):
            taught = self.teacher(batch, hidden_states=states)
        inputs = model_inputs(batch)
        with trained_attention(model):
            output = model(**inputs, all_exits=True, output_hidden_states=states)
        return {term.name: term.values(output, taught, batch) for term in active}

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The whole loss, a scalar."""
        return torch.stack([part.sum() for part in self.parts(model, batch).values()]).sum()

    def per_exit(self, model: nn.Module, batch: Batch) -> Tensor:
        """One loss for every exit, ``[E]``, for importance scores.

        What is counted by layer is taken into the exits' losses in equal shares, so that they sum to the
        whole loss.
        """
        parts = self.parts(model, batch)
        units = {term.name: term.loss.unit for term in self.terms}
        by_exit = [part for name, part in parts.items() if units[name] == "exit"]
        others = [part.sum() for name, part in parts.items() if units[name] != "exit"]
        if not by_exit:
            raise ValueError("none of the objective's terms gives one loss for every exit")
        total = torch.stack(by_exit).sum(dim=0)
        return total + torch.stack(others).sum() / len(total) if others else total

    def first_bad(self, parts: Mapping[str, Tensor]) -> str | None:
        """Where the loss is not finite, e.g. ``"predictions of exit 3 is nan"``."""
        for term in self.terms:
            part = parts.get(term.name)
            if part is None:
                continue
            for place, value in enumerate(part.detach().reshape(-1).tolist()):
                if not torch.isfinite(torch.tensor(value)):
                    where = f" of {term.loss.unit} {place + term.loss.first}" if part.dim() else ""
                    return f"the loss for {term.name}{where} is {value}"
        return None
