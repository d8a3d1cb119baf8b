"""What is minimised: a weighted sum of terms, each a loss per exit or per layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...distill import Teacher, TeacherOutput, feature_loss, model_inputs, prediction_loss, truth_loss
from ...exits import MultiExitOutput
from .attention import trained_attention

Batch = Mapping[str, Any]
ExitWeights = Literal["equal", "layer"]
TermLoss = Callable[[MultiExitOutput, TeacherOutput | None, Batch], Tensor]


@dataclass(frozen=True)
class Term:
    """One part of an objective.

    Args:
        name: in logs and messages, e.g. ``"features"``.
        loss: gives one loss per exit ``[E]`` or per hidden state ``[L + 1]``, or a scalar; they are summed.
        weight: of the sum.
        unit: what the values are counted in, ``"exit"`` or ``"layer"``; ``first`` is the first one's number.
        teacher, states: whether it reads the teacher's answers, hidden states.
        since: it counts from this part of a training run on, 0 to 1.
    """

    name: str
    loss: TermLoss
    weight: float = 1.0
    unit: str = "exit"
    first: int = 1
    teacher: bool = False
    states: bool = False
    since: float = 0.0


def truth(weight: float = 1.0, since: float = 0.0, exit_weights: ExitWeights = "equal") -> Term:
    """Cross-entropy of every exit with the labels.

    Args:
        weight: of the term.
        since: see :class:`Term`.
        exit_weights: ``"equal"``: the sum over the exits; ``"layer"``: ``sum i * L_i / sum i``, i the exit's
            place from 1 (Zhou et al., "BERT Loses Patience", NeurIPS 2020).
    """

    def loss(output: MultiExitOutput, _: TeacherOutput | None, batch: Batch) -> Tensor:
        losses = truth_loss(_logits(output), batch["labels"], "none")
        if exit_weights == "equal":
            return losses
        places = torch.arange(1, len(losses) + 1, device=losses.device, dtype=losses.dtype)
        return losses * places / places.sum()

    return Term("ground truth", loss, weight, since=since)


def predictions(
    weight: float = 1.0, temperature: float = 1.0, *, final: bool = False, since: float = 0.0
) -> Term:
    """Soft cross-entropy of every exit with the teacher's same exit (Eq. 4), or with its final prediction.

    A teacher with one exit, such as the dense original, has its final prediction alone.
    """

    def loss(output: MultiExitOutput, taught: TeacherOutput | None, _: Batch) -> Tensor:
        assert taught is not None
        target = taught.logits if final or len(taught.exit_logits) == 1 else taught.exit_logits
        return prediction_loss(_logits(output), target, temperature, "none")

    return Term("predictions", loss, weight, teacher=True, since=since)


def features(weight: float = 1.0, since: float = 0.0) -> Term:
    """Mean squared error of the embedding output and every layer's hidden states (Eq. 5)."""

    def loss(output: MultiExitOutput, taught: TeacherOutput | None, batch: Batch) -> Tensor:
        assert taught is not None and taught.hidden_states is not None and output.hidden_states is not None
        return feature_loss(output.hidden_states, taught.hidden_states, batch["attention_mask"], "none")

    return Term("features", loss, weight, unit="layer", first=0, teacher=True, states=True, since=since)


def but_last(term: Term) -> Term:
    """A term that is counted by exit, without the last exit's part."""

    def loss(output: MultiExitOutput, taught: TeacherOutput | None, batch: Batch) -> Tensor:
        return term.loss(output, taught, batch)[:-1]

    return replace(term, loss=loss)


def _logits(output: MultiExitOutput) -> Tensor:
    assert output.exit_logits is not None
    return output.exit_logits


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
        if teacher is None and any(term.teacher for term in self.terms):
            raise ValueError("an objective with distillation needs a teacher")

    def parts(self, model: nn.Module, batch: Batch, progress: float = 1.0) -> dict[str, Tensor]:
        """The weighted terms: name -> ``[E]``, ``[L + 1]`` or scalar.

        Args:
            model: a multi-exit model, possibly wrapped.
            batch: tensors, ``labels`` and ``index`` included.
            progress: how much of the training run is done, 0 to 1; it decides which terms count.
        """
        active = [term for term in self.terms if term.since <= progress]
        states = any(term.states for term in active)
        taught = None
        if self.teacher is not None and any(term.teacher for term in active):
            taught = self.teacher(batch, hidden_states=states)
        inputs = model_inputs(batch)
        with trained_attention(model):
            output = model(**inputs, all_exits=True, output_hidden_states=states)
        return {term.name: term.weight * term.loss(output, taught, batch) for term in active}

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The whole loss, a scalar."""
        return torch.stack([part.sum() for part in self.parts(model, batch).values()]).sum()

    def per_exit(self, model: nn.Module, batch: Batch) -> Tensor:
        """One loss for every exit, ``[E]``, for importance scores.

        What is counted by layer is taken into the exits' losses in equal shares, so that they sum to the
        whole loss.
        """
        parts = self.parts(model, batch)
        by_exit = [parts[term.name] for term in self.terms if term.unit == "exit" and term.name in parts]
        others = [parts[term.name].sum() for term in self.terms if term.unit != "exit" and term.name in parts]
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
                    where = f" of {term.unit} {place + term.first}" if part.dim() else ""
                    return f"the loss for {term.name}{where} is {value}"
        return None
