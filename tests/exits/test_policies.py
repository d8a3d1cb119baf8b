"""Exit policies against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunekit.exits import entropy
from prunekit.exits.policies import registry

LOGITS = st.integers(0, 10**6).map(
    lambda seed: torch.randn(6, 20, 3, generator=torch.Generator().manual_seed(seed)) * 3
)


def loop(logits, decide):
    count, size = logits.shape[:2]
    taken = []
    for row in range(size):
        for index in range(count):
            if index == count - 1 or decide(logits[: index + 1, row], index):
                taken.append(index)
                break
    return taken


def plain_entropy(row):
    p = [math.exp(x - max(row)) for x in row]
    total = sum(p)
    return -sum(q / total * math.log(q / total) for q in p if q > 0)


@settings(max_examples=40, deadline=None)
@given(logits=LOGITS, threshold=st.floats(0, 1.2))
def test_entropy(logits, threshold):
    decide = lambda history, _: plain_entropy(history[-1].double().tolist()) < threshold  # noqa: E731
    assert registry.build({"name": "entropy", "threshold": threshold}).exits(logits).tolist() == loop(
        logits, decide
    )


@settings(max_examples=40, deadline=None)
@given(logits=LOGITS, thresholds=st.lists(st.floats(0.3, 1), min_size=6, max_size=6))
def test_confidence_with_a_threshold_per_exit(logits, thresholds):
    decide = lambda history, i: float(history[-1].softmax(-1).max()) > thresholds[i]  # noqa: E731
    policy = registry.build({"name": "confidence", "threshold": thresholds})
    assert policy.exits(logits).tolist() == loop(logits, decide)


@settings(max_examples=40, deadline=None)
@given(logits=LOGITS, patience=st.integers(1, 7))
def test_patience_counts_as_in_its_paper(logits, patience):
    def decide(history, _):
        counter = 0
        for before, now in zip(history.argmax(-1), history.argmax(-1)[1:], strict=False):
            counter = counter + 1 if before == now else 0
        return counter >= patience

    assert registry.build({"name": "patience", "patience": patience}).exits(logits).tolist() == loop(
        logits, decide
    )


@pytest.mark.parametrize("scale", [1, 1e2, 1e4, 1e30])
def test_entropy_of_certain_predictions_is_finite(scale):
    values = entropy(torch.tensor([[scale, -scale], [scale, scale]]))
    assert torch.isfinite(values).all()
    assert values[1] == pytest.approx(math.log(2))
    assert 0 <= values[0] < 0.4


def test_threshold_zero_leaves_nobody_early():
    logits = torch.tensor([[[1e4, -1e4]], [[0.0, 0.0]]])
    assert registry.build({"name": "entropy", "threshold": 0.0}).exits(logits).tolist() == [1]
