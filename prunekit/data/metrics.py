"""Scores of predictions, computed by scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DataError


def _f1(average: str) -> Callable[[Any, Any], float]:
    def f1(labels: Any, predictions: Any) -> float:
        from sklearn.metrics import f1_score

        return float(f1_score(labels, predictions, pos_label=1, average=average, zero_division=0))

    return f1


def _accuracy(labels: Any, predictions: Any) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(labels, predictions))


def _matthews(labels: Any, predictions: Any) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(labels, predictions))


METRICS: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": _accuracy,
    "f1": _f1("binary"),
    "f1_macro": _f1("macro"),
    "matthews": _matthews,
}


def check_metrics(metrics: Sequence[str], num_labels: int) -> None:
    """Raise :class:`DataError` for a metric that does not exist or does not fit the number of classes."""
    for name in metrics:
        if name not in METRICS:
            raise DataError(f"unknown metric {name!r}", f"known: {', '.join(METRICS)}")
        if name == "f1" and num_labels != 2:
            raise DataError(
                f"metric 'f1' is for two classes (the positive one is label 1), the task has {num_labels}",
                "use data.metrics=[f1_macro] or [accuracy]",
            )


def score(metrics: Sequence[str], labels: ArrayLike, predictions: ArrayLike) -> dict[str, float]:
    """Scores by name, in the order asked for; the first is the task's main metric.

    Args:
        metrics: names out of ``accuracy``, ``f1`` (two classes, label 1 is the positive one), ``f1_macro``
            (mean over classes) and ``matthews`` (correlation coefficient).
        labels: integer labels [N].
        predictions: predicted labels [N].

    Returns:
        Fractions: 0 to 1, ``matthews`` -1 to 1.

    Raises:
        DataError: a metric is unknown, or there is nothing to score.
        ValueError: the two lengths differ.
    """
    truth, answer = np.asarray(labels), np.asarray(predictions)
    if truth.shape != answer.shape or truth.ndim != 1:
        raise ValueError(f"labels {truth.shape} and predictions {answer.shape} must both be [N]")
    if truth.size == 0:
        raise DataError("there are no examples to score", "give data.test_file (or a split) with examples")
    check_metrics([name for name in metrics if name not in METRICS], 2)
    return {name: METRICS[name](truth, answer) for name in metrics}
