"""Scores against counts by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunekit.data import METRICS, check_metrics, score
from prunekit.errors import DataError

pairs = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40)
triples = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40)


@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(deadline=None)
@given(pairs)
def test_two_classes_against_the_confusion_matrix(examples: list[tuple[int, int]]) -> None:
    labels, answers = zip(*examples, strict=True)
    tp = sum(x == (1, 1) for x in examples)
    tn = sum(x == (0, 0) for x in examples)
    fp = sum(x == (0, 1) for x in examples)
    fn = sum(x == (1, 0) for x in examples)
    got = score(["accuracy", "f1", "matthews"], labels, answers)
    assert got["accuracy"] == pytest.approx((tp + tn) / len(examples))
    assert got["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0)
    below = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert got["matthews"] == pytest.approx((tp * tn - fp * fn) / below if below else 0.0)


@settings(deadline=None)
@given(triples)
def test_macro_f1_is_the_mean_over_classes(examples: list[tuple[int, int]]) -> None:
    labels, answers = zip(*examples, strict=True)
    scores = []
    for c in sorted({*labels, *answers}):
        hits = sum(x == (c, c) for x in examples)
        said, true = answers.count(c), labels.count(c)
        scores.append(2 * hits / (said + true))
    assert score(["f1_macro"], labels, answers)["f1_macro"] == pytest.approx(sum(scores) / len(scores))


def test_order_is_kept() -> None:
    assert list(score(["matthews", "accuracy"], [0, 1], [0, 1])) == ["matthews", "accuracy"]


def test_f1_is_refused_for_three_classes() -> None:
    with pytest.raises(DataError, match="two classes") as caught:
        check_metrics(["accuracy", "f1"], 3)
    assert "f1_macro" in (caught.value.mend or "")


def test_unknown_metric() -> None:
    with pytest.raises(DataError, match="unknown metric 'bleu'") as caught:
        score(["bleu"], [0, 1], [0, 1])
    assert all(name in (caught.value.mend or "") for name in METRICS)


def test_nothing_to_score() -> None:
    with pytest.raises(DataError, match="no examples"):
        score(["accuracy"], [], [])


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        score(["accuracy"], [0, 1], [0, 1, 1])
