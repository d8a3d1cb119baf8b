"""Losses between a student with exits and its teacher or the ground truth.

All are computed in float32 whatever the model's precision, and can be had per exit or per layer, so that
a caller can weigh them or say which one is not finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from ...data import NO_LABEL

Reduction = Literal["sum", "mean", "none"]


def prediction_loss(
    exit_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0, reduction: Reduction = "sum"
) -> Tensor:
    """Soft cross-entropy of every exit with the teacher's predictions.

    COST-EFF, Eq. 4: ``sum_i CE(z_i^T / T, z_i / T)``, the mean over examples for each exit.

    Args:
        exit_logits: the student's, ``[E, B, C]``.
        teacher_logits: ``[E, B, C]``, one teacher exit for each exit; or ``[B, C]``, the teacher's final
            prediction for every exit.
        temperature: divides the logits of both.
        reduction: over exits; ``"none"`` gives ``[E]``.

    Raises:
        ValueError: the shapes do not fit.
    """
    if teacher_logits.shape not in (exit_logits.shape, exit_logits.shape[1:]):
        raise ValueError(
            f"teacher logits {tuple(teacher_logits.shape)} fit neither {tuple(exit_logits.shape)}, "
            f"exit by exit, nor {tuple(exit_logits.shape[1:])}, one prediction for every exit"
        )
    soft = torch.softmax(teacher_logits.float() / temperature, dim=-1)
    log_student = torch.log_softmax(exit_logits.float() / temperature, dim=-1)
    return _reduced(-(soft * log_student).sum(dim=-1).mean(dim=-1), reduction)


def truth_loss(exit_logits: Tensor, labels: Tensor, reduction: Reduction = "sum") -> Tensor:
    """Cross-entropy of every exit with the labels, the mean over the examples that have one for each exit.

    Args:
        exit_logits: ``[E, B, C]``.
        labels: int64 ``[B]``; -100 for an example without a label. Without any the loss is 0.
        reduction: over exits; ``"none"`` gives ``[E]``.
    """
    exits, _, classes = exit_logits.shape
    logits = exit_logits.float().reshape(-1, classes)
    every = cross_entropy(logits, labels.repeat(exits), ignore_index=NO_LABEL, reduction="none")
    labelled = (labels != NO_LABEL).sum().clamp(min=1)
    return _reduced(every.reshape(exits, -1).sum(dim=1) / labelled, reduction)


def feature_loss(
    hidden_states: Sequence[Tensor],
    teacher_states: Sequence[Tensor],
    mask: Tensor,
    reduction: Reduction = "sum",
) -> Tensor:
    """Mean squared error of the hidden states, padding left out of the mean.

    COST-EFF, Eq. 5: ``sum_{i=0..L} MSE(H_i^T, H_i)``, the embedding output and every layer.

    Args:
        hidden_states: the student's, each ``[B, T, H]``, the embedding output first.
        teacher_states: as many, of the same shapes.
        mask: 1 for tokens, 0 for padding, ``[B, T]``.
        reduction: over layers; ``"none"`` gives ``[L + 1]``.

    Raises:
        ValueError: there are not as many, or their shapes differ.
    """
    if len(hidden_states) != len(teacher_states):
        raise ValueError(
            f"{len(hidden_states)} hidden states of the student, {len(teacher_states)} of the teacher"
        )
    ours, theirs = tuple(hidden_states[0].shape), tuple(teacher_states[0].shape)
    if ours != theirs:
        raise ValueError(f"hidden states {ours} of the student, {theirs} of the teacher")
    weights = mask.float() / (mask.sum() * hidden_states[0].shape[-1])
    every = []
    for student, teacher in zip(hidden_states, teacher_states, strict=True):
        difference = student.float() - teacher.float()
        every.append(((difference * difference).sum(dim=-1) * weights).sum())
    return _reduced(torch.stack(every), reduction)


def attention_loss(
    scores: Sequence[Tensor], teacher_scores: Sequence[Tensor], mask: Tensor, reduction: Reduction = "sum"
) -> Tensor:
    """Mean squared error of attention scores before the softmax, pairs with padding left out of the mean.

    TinyBERT (Jiao et al., EMNLP 2020), Eq. 7: ``1/A sum_a MSE(S_a, S_a^T)`` for each layer, head by head.

    Args:
        scores: the student's, each ``[B, A, T, T]``, one for each layer compared.
        teacher_scores: as many, of the same shapes.
        mask: 1 for tokens, 0 for padding, ``[B, T]``.
        reduction: over layers; ``"none"`` gives one value for each.

    Raises:
        ValueError: there are not as many, or their shapes differ.
    """
    if len(scores) != len(teacher_scores):
        raise ValueError(
            f"attention of {len(scores)} layers of the student, {len(teacher_scores)} of the teacher"
        )
    real = mask.float()
    pairs = real[:, :, None] * real[:, None, :]
    every = []
    for student, teacher in zip(scores, teacher_scores, strict=True):
        ours, theirs = tuple(student.shape), tuple(teacher.shape)
        if ours != theirs:
            raise ValueError(f"attention scores {ours} of the student, {theirs} of the teacher")
        difference = student.float() - teacher.float()
        every.append(((difference * difference).mean(dim=1) * pairs).sum() / pairs.sum())
    return _reduced(torch.stack(every), reduction)


def cosine_loss(hidden: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """``1 - cos`` of the angle between hidden states, the mean over unpadded tokens; a scalar.

    DistilBERT (Sanh et al., 2019), section 3.

    Args:
        hidden: the student's, ``[B, T, H]``.
        teacher: of the same shape.
        mask: 1 for tokens, 0 for padding, ``[B, T]``.

    Raises:
        ValueError: the shapes differ.
    """
    if hidden.shape != teacher.shape:
        raise ValueError(
            f"hidden states {tuple(hidden.shape)} of the student, {tuple(teacher.shape)} of the teacher"
        )
    angles = cosine_similarity(hidden.float(), teacher.float(), dim=-1)
    weights = mask.float()
    return ((1 - angles) * weights).sum() / weights.sum()


def _reduced(values: Tensor, reduction: Reduction) -> Tensor:
    if reduction == "sum":
        return values.sum()
    if reduction == "mean":
        return values.mean()
    if reduction == "none":
        return values
    raise ValueError(f"reduction is 'sum', 'mean' or 'none', not {reduction!r}")
