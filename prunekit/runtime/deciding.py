"""Exit policies on NumPy arrays: who leaves, without PyTorch.

The built-in policies have a form of their own here, which gives the same. Any other policy is asked
through PyTorch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import RecipeError

Floats = NDArray[np.floating[Any]]
Decide = Callable[[Floats, int, "Floats | None"], NDArray[np.bool_]]


def decider(policy: Mapping[str, Any] | None) -> Decide:
    """A function that says who leaves at an exit.

    It is called with the logits of the exits passed so far, ``[exit + 1, B, C]``, the position of the exit,
    and the certainty of these exits, ``[exit + 1, B]``, or ``None``; it gives bool ``[B]``. Answers that
    are no finite numbers never leave.

    Args:
        policy: ``{"name": ..., arguments}`` as in ``config.json``; ``None``: nobody leaves before the end.
    """
    if policy is None:
        return lambda history, exit_index, certainty: np.zeros(history.shape[1], dtype=bool)
    name, arguments = policy["name"], {k: v for k, v in policy.items() if k != "name"}
    if name in _FORMS:
        takes = inspect.signature(_FORMS[name]).parameters
        if not set(arguments) <= set(takes):
            raise RecipeError(
                f"the exit policy {name!r} does not take {', '.join(map(repr, arguments))}",
                f"it takes: {', '.join(takes)}",
            )
        decide = _FORMS[name](**arguments)
    else:
        decide = _through_torch(policy)

    def leaves(history: Floats, exit_index: int, certainty: Floats | None) -> NDArray[np.bool_]:
        return decide(history, exit_index, certainty) & np.isfinite(history[-1]).all(axis=-1)

    return leaves


def _probabilities(logits: Floats) -> Floats:
    logits = logits.astype(np.float32)
    with np.errstate(invalid="ignore"):
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def _at(threshold: float | Sequence[float], exit_index: int, name: str) -> float:
    if not isinstance(threshold, (list, tuple)):
        return float(threshold)  # type: ignore[arg-type]
    if exit_index >= len(threshold):
        raise RecipeError(f"{name}.threshold: the list has no threshold for exit {exit_index + 1}")
    return float(threshold[exit_index])


def _entropy(threshold: float | Sequence[float] = 0.3) -> Decide:
    def decide(history: Floats, exit_index: int, certainty: Floats | None) -> NDArray[np.bool_]:
        p = _probabilities(history[-1])
        found = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)
        return np.asarray(found < _at(threshold, exit_index, "entropy"))

    return decide


def _confidence(threshold: float | Sequence[float] = 0.9) -> Decide:
    def decide(history: Floats, exit_index: int, certainty: Floats | None) -> NDArray[np.bool_]:
        return np.asarray(_probabilities(history[-1]).max(axis=-1) > _at(threshold, exit_index, "confidence"))

    return decide


def _learned(threshold: float | Sequence[float] = 0.9) -> Decide:
    def decide(history: Floats, exit_index: int, certainty: Floats | None) -> NDArray[np.bool_]:
        if certainty is None:
            raise ValueError("the policy 'learned' needs exits that say how sure they are")
        return np.asarray(certainty[-1] > _at(threshold, exit_index, "learned"))

    return decide


def _patience(patience: int = 2, margin: float | None = None) -> Decide:
    def decide(history: Floats, exit_index: int, certainty: Floats | None) -> NDArray[np.bool_]:
        if exit_index < patience:
            return np.zeros(history.shape[1], dtype=bool)
        last = history[-patience - 1 :]
        answered = np.isfinite(last).all(axis=-1).all(axis=0)
        if history.shape[-1] == 1:
            if margin is None:
                raise ValueError("patience needs a margin where a model has one output, e.g. margin: 0.5")
            with np.errstate(invalid="ignore"):
                near = np.abs(np.diff(last.astype(np.float32), axis=0)) < margin
            return np.asarray(near.squeeze(-1).all(axis=0) & answered)
        labels = last.argmax(axis=-1)
        return np.asarray((labels == labels[-1]).all(axis=0) & answered)

    return decide


_FORMS: dict[str, Callable[..., Decide]] = {
    "entropy": _entropy,
    "confidence": _confidence,
    "learned": _learned,
    "patience": _patience,
}


def _through_torch(policy: Mapping[str, Any]) -> Decide:
    import torch

    from ..exits.policies import registry
    from ..registry import registered_alone

    with registered_alone():
        built = registry.build(dict(policy))

    def decide(history: Floats, exit_index: int, certainty: Floats | None) -> NDArray[np.bool_]:
        sure = None if certainty is None else torch.from_numpy(np.ascontiguousarray(certainty))
        found = built.decide(torch.from_numpy(np.ascontiguousarray(history)), exit_index, sure)
        return np.asarray(found.numpy())

    return decide
