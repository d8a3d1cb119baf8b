"""Evaluation of exits against a plain loop over examples."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from report_sample import POLICIES, TAGS, make_report, models, outputs, score

from prunekit.data.metrics import score as data_score
from prunekit.exits.policies import registry
from prunekit.reports import (
    ExitCosts,
    ExitOutputs,
    choose_policy,
    curve_svg,
    evaluate_exits,
    exit_costs,
    exits_taken,
    model_figures,
    read_report,
    summary_sentence,
    write_report,
)
from prunekit.reports.card import model_card
from prunekit.reports.points import share_kept


def entropy(logits):
    """By its definition, one prediction at a time, in Python."""
    top = max(logits)
    weights = [math.exp(v - top) for v in logits]
    shares = [w / sum(weights) for w in weights]
    return -sum(p * math.log(p) for p in shares if p > 0)


def costs_for(examples, exits, seed=0):
    random = np.random.default_rng(seed)
    return ExitCosts(
        exits=np.cumsum(random.integers(1, 50, exits)),
        exits_real=np.cumsum(random.integers(1, 50, (examples, exits)), axis=1),
        dense=500,
        dense_real=random.integers(200, 500, examples),
    )


def accuracy(labels, predictions):
    return {"accuracy": sum(int(a == b) for a, b in zip(labels, predictions, strict=True)) / len(labels)}


def by_loop(said, costs, threshold, rows):
    """Leave at the first exit whose entropy is below the threshold, each example by itself."""
    exits = said.logits.shape[0]
    hits, layers, fixed, real, dense = 0, [], 0, 0, 0
    for i in rows:
        for e in range(exits):
            if e == exits - 1 or entropy(said.logits[e, i].tolist()) < threshold:
                break
        hits += int(int(said.logits[e, i].argmax()) == int(said.labels[i]))
        layers.append(said.exit_layers[e])
        fixed += int(costs.exits[e])
        real += int(costs.exits_real[i, e])
        dense += int(costs.dense_real[i])
    n = len(rows)
    return {
        "score": hits / n,
        "layers": layers,
        "macs": fixed / n,
        "macs_real": real / n,
        "speedup": costs.dense / (fixed / n),
        "speedup_real": dense / real,
    }


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 4), threshold=st.floats(0.01, 1.2))
def test_every_figure_against_a_loop(seed, classes, threshold):
    random = np.random.default_rng(seed)
    exits, examples = 3, 17
    said = ExitOutputs(
        logits=random.normal(0, 2, (exits, examples, classes)).astype(np.float32),
        labels=random.integers(0, classes, examples),
        lengths=random.integers(3, 9, examples),
        exit_layers=[2, 3, 6],
        difficulty=[["a", "b"][i] for i in random.integers(0, 2, examples)],
    )
    costs = costs_for(examples, exits, seed)
    result = evaluate_exits(said, [{"name": "entropy", "threshold": threshold}], costs, accuracy)
    [point] = result.points
    short = np.flatnonzero(said.lengths < np.median(said.lengths))
    parts = {"all": (point.all, range(examples)), "short": (point.short, short)}
    for tag, subset in point.by_difficulty.items():
        parts[tag] = (subset, [i for i in range(examples) if said.difficulty[i] == tag])
    for subset, rows in parts.values():
        if subset is None:
            assert len(rows) == 0
            continue
        expected = by_loop(said, costs, threshold, rows)
        assert subset.examples == len(rows)
        assert subset.scores["accuracy"] == pytest.approx(expected["score"])
        assert subset.mean_exit_layer == pytest.approx(np.mean(expected["layers"]))
        for name in ("macs", "macs_real", "speedup", "speedup_real"):
            assert getattr(subset, name) == pytest.approx(expected[name])
    taken = by_loop(said, costs, threshold, range(examples))["layers"]
    assert point.exit_shares == pytest.approx([taken.count(n) / examples for n in (2, 3, 6)])
    assert sum(point.exit_shares) == pytest.approx(1)


def test_all_layers_pays_for_every_exit_and_exits_alone():
    said = outputs(examples=60)
    costs = costs_for(60, 6)
    result = evaluate_exits(said, POLICIES, costs, score, dense_predictions=said.labels)
    whole = result.all_layers
    assert whole.policy is None and whole.label == "all layers"
    assert whole.all.macs == costs.exits[-1] and whole.all.mean_exit_layer == 6
    assert whole.all.scores == result.exit_scores[-1]
    assert result.chosen == whole and result.early_errors == []
    for e in range(6):
        assert result.exit_scores[e]["accuracy"] == np.mean(said.logits[e].argmax(1) == said.labels)
    assert result.metrics == ["accuracy", "f1"]
    assert result.dense.scores == {"accuracy": 1.0, "f1": 1.0}
    assert whole.kept == pytest.approx(whole.all.scores["accuracy"])
    assert list(whole.by_difficulty) == TAGS
    assert result.points[0].label == "entropy 0.6"
    assert evaluate_exits(said, [], costs, score).all_layers.kept is None


def test_certain_predictions_have_no_entropy_and_leave():
    """Softmax of these is exactly 0 and 1: 0 ln 0 counts as 0, not NaN."""
    logits = np.array([[[1e4, -1e4], [0.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]], dtype=np.float32)
    assert exits_taken(logits, {"name": "entropy", "threshold": 1e-6}).tolist() == [0, 1]
    said = ExitOutputs(logits, np.array([1, 1]), np.array([5, 5]), [1, 2])
    result = evaluate_exits(
        said, [], costs_for(2, 2), accuracy, chosen={"name": "entropy", "threshold": 1e-6}
    )
    [error] = result.early_errors
    assert (error.confidence, error.exit_layer, error.predicted, error.last_exit_says) == (1.0, 1, 0, 1)
    assert error.text == "example 0"
    # Equal lengths: nobody is shorter than the median.
    assert result.all_layers.short is None


def test_early_errors_are_those_that_left_early_and_wrongly():
    said = outputs(seed=5, examples=900)
    policy = {"name": "entropy", "threshold": 0.65}
    result = evaluate_exits(said, POLICIES, costs_for(900, 6), score, chosen=policy)
    taken = exits_taken(said.logits, policy)
    wrong = {i for i in range(900) if taken[i] < 5 and said.logits[taken[i], i].argmax() != said.labels[i]}
    assert len(wrong) > 50
    assert result.early_error_count == len(wrong) and len(result.early_errors) == 50
    assert all(int(e.text.split()[1].rstrip(":")) in wrong for e in result.early_errors)
    sure = [e.confidence for e in result.early_errors]
    assert sure == sorted(sure, reverse=True)
    every = [float(torch.from_numpy(said.logits[taken[i], i]).double().softmax(0).max()) for i in wrong]
    assert sure[0] == pytest.approx(max(every))
    assert result.chosen.policy == policy


def test_any_registered_policy():
    said = outputs(examples=80)
    policies = [{"name": "patience", "patience": p} for p in (1, 2)]
    result = evaluate_exits(said, policies, costs_for(80, 6), score)
    labels = said.logits.argmax(2)
    for patience, point in zip((1, 2), result.points, strict=True):
        layers = []
        for i in range(80):
            agreed = 0
            for e in range(6):
                agreed = agreed + 1 if e and labels[e, i] == labels[e - 1, i] else 0
                if agreed == patience:
                    break
            layers.append(e + 1)
        assert point.all.mean_exit_layer == pytest.approx(np.mean(layers))
    per_exit = {"name": "entropy", "threshold": [0.0, 0.0, 9.0, 0.0, 0.0, 0.0]}
    assert set(exits_taken(said.logits, per_exit).tolist()) == {2}


def test_a_single_exit_has_one_point_and_reports_well(tmp_path):
    dense, _ = models()
    said = outputs(examples=60, layers=1)
    costs = exit_costs(dense, dense, said.lengths)
    result = evaluate_exits(dataclasses.replace(said, dense_predictions=said.labels), [], costs, score)
    assert result.points == [] and result.all_layers == result.chosen
    assert result.chosen.exit_shares == [1.0] and result.chosen.all.speedup == 1.0
    assert choose_policy(result, 0.01) is None
    report = make_report()
    figures = model_figures(dense, "small")
    system = dataclasses.replace(
        report.systems[0], name="small", figures=figures, evaluation=result, validation=result
    )
    report = dataclasses.replace(report, systems=[system])
    write_report(tmp_path, report)
    text = (tmp_path / "report.md").read_text()
    assert "no example leaves early" in text and "| small, all layers |" in text
    svg = curve_svg(report)
    assert svg.count("<circle") == 2 and "nan" not in svg
    assert read_report(tmp_path) == report


def test_several_policies_are_drawn_as_a_line_each():
    said, costs = outputs(examples=80), costs_for(80, 6)
    names = ("entropy", "patience", "confidence")
    policies = [{"name": n, **a} for n in names for a in registry.get(n).sweep(6, 2)]
    result = evaluate_exits(said, policies, costs, score, dense_predictions=said.labels)
    assert [p.policy for p in result.points] == policies
    report = make_report()
    system = dataclasses.replace(report.systems[0], evaluation=result)
    svg = curve_svg(dataclasses.replace(report, systems=[system]))
    lines = re.findall(r'class="s0 line" d="M([^"]*)"', svg)
    assert len(lines) == 3
    # From the cheapest policy to all layers, where they all end.
    ends = {tuple(line.split("L")[-1].split()) for line in lines}
    assert len(ends) == 1
    for line in lines:
        xs = [float(point.split()[0]) for point in line.split("L")]
        assert xs == sorted(xs) and len(xs) > 2


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), threshold=st.floats(0.01, 0.99))
def test_a_policy_that_reads_certainty(seed, threshold):
    random = np.random.default_rng(seed)
    said = ExitOutputs(
        logits=random.normal(0, 2, (3, 17, 2)).astype(np.float32),
        labels=random.integers(0, 2, 17),
        lengths=random.integers(3, 9, 17),
        exit_layers=[2, 3, 6],
        certainty=random.random((3, 17)).astype(np.float32),
    )
    policy = {"name": "learned", "threshold": threshold}
    result = evaluate_exits(said, [policy], costs_for(17, 3, seed), accuracy, chosen=policy)
    taken = []
    for i in range(17):
        early = [e for e in range(2) if said.certainty[e, i] > threshold]
        taken.append(early[0] if early else 2)
    assert exits_taken(said.logits, policy, said.certainty).tolist() == taken
    [point] = result.points
    hits = [said.logits[e, i].argmax() == said.labels[i] for i, e in enumerate(taken)]
    assert point == result.chosen
    assert point.all.scores["accuracy"] == pytest.approx(np.mean(hits))
    assert result.early_error_count == sum(e < 2 and not hit for e, hit in zip(taken, hits, strict=True))
    with pytest.raises(ValueError, match="learn_to_exit"):
        evaluate_exits(dataclasses.replace(said, certainty=None), [policy], costs_for(17, 3), accuracy)


@pytest.mark.parametrize("max_drop", [0.0, 0.01, 0.05, 0.5])
def test_the_chosen_policy_is_the_cheapest_that_is_good_enough(max_drop):
    result = evaluate_exits(outputs(seed=3), POLICIES, costs_for(400, 6), score)
    policy = choose_policy(result, max_drop)
    # Whole examples, of 400: no rounding.
    whole = result.all_layers.all.scores["accuracy"]
    lost = [round(400 * (whole - p.all.scores["accuracy"])) for p in result.points]
    fit = [p for p, few in zip(result.points, lost, strict=True) if few <= round(400 * max_drop)]
    fit.append(result.all_layers)
    [chosen] = [p for p in [*result.points, result.all_layers] if p.policy == policy]
    assert chosen in fit
    assert chosen.all.macs == min(p.all.macs for p in fit)


@settings(max_examples=150, deadline=None)
@given(
    whole=st.integers(-100, 100),
    points=st.lists(st.tuples(st.integers(-100, 100), st.integers(1, 9)), max_size=6),
    max_drop=st.integers(0, 99),
)
def test_any_score_will_do(whole, points, max_drop):
    """Against whole hundredths: scores below 0 and of 0, no policy at all, drops met to the last digit."""
    base = evaluate_exits(outputs(examples=30), [], costs_for(30, 6), score)

    def point(number, value, macs):
        policy = None if number is None else {"name": "entropy", "threshold": number}
        part = dataclasses.replace(base.all_layers.all, scores={"accuracy": value / 100}, macs=macs)
        return dataclasses.replace(base.all_layers, policy=policy, all=part)

    evaluation = dataclasses.replace(
        base,
        all_layers=point(None, whole, 10),
        points=[point(n, value, macs) for n, (value, macs) in enumerate(points)],
    )
    chosen = choose_policy(evaluation, max_drop / 100)
    fit = [(macs, -value, n) for n, (value, macs) in enumerate(points) if whole - value <= max_drop]
    assert chosen == ({"name": "entropy", "threshold": min(fit)[2]} if fit else None)


@pytest.mark.parametrize(
    ("own", "dense", "kept"),
    [
        (0.6, 0.8, 0.75), (0.9, 0.6, 1.5), (0.0, 0.5, 0.0), (0.5, 0.0, None), (0.0, 0.0, None),
        (-0.1, 0.5, None), (0.5, -0.1, None), (-0.1, -0.2, None), (0.5, None, None),
    ],
)  # fmt: skip
def test_a_share_is_kept_of_what_is_above_nothing(own, dense, kept):
    found = share_kept(own, dense)
    assert found is None if kept is None else found == pytest.approx(kept)


@pytest.mark.parametrize("dense_right", [0.2, 0.5, 0.8])
def test_a_report_of_scores_below_chance(tmp_path, dense_right):
    """Matthews' correlation of exits that are mostly wrong: no share of it anywhere, and no crash."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 300)
    logits = random.normal(size=(6, 300, 2)).astype(np.float32)
    logits[:, np.arange(300), labels] -= 1
    said = ExitOutputs(
        logits, labels, random.integers(3, 30, 300), [1, 2, 3, 4, 5, 6],
        dense_predictions=np.where(random.random(300) < dense_right, labels, 1 - labels),
    )  # fmt: skip

    def matthews(true, answered):
        return data_score(["matthews", "accuracy"], true, answered)

    costs = costs_for(300, 6)
    validation = evaluate_exits(said, POLICIES, costs, matthews)
    policy = choose_policy(validation, 0.3)
    evaluation = evaluate_exits(said, POLICIES, costs, matthews, chosen=policy)
    assert evaluation.all_layers.all.scores["matthews"] < 0
    assert all(p.kept is None for p in [evaluation.all_layers, *evaluation.points])
    system = dataclasses.replace(
        make_report().systems[0], evaluation=evaluation, validation=validation, max_drop_points=0.3
    )
    report = dataclasses.replace(make_report(), systems=[system])
    write_report(tmp_path, report)
    assert read_report(tmp_path) == report
    table = (tmp_path / "report.md").read_text().split("## The result")[1].split("## Every exit policy")[0]
    kept = [line.split("|")[-2].strip() for line in table.splitlines() if line.startswith("| ")][2:]
    assert set(kept[1:]) == {"–"}
    assert kept[0] == ("100.0 %" if evaluation.dense.scores["matthews"] > 0 else "–")
    assert "matthews -" in summary_sentence(report)
    svg = curve_svg(report)
    assert "nan" not in svg
    assert ("95 % of the dense score" in svg) == (evaluation.dense.scores["matthews"] > 0)
    assert "of the score" not in model_card(report).split("## Use")[0]


def test_nobody_leaves_where_no_policy_is_good_enough():
    logits = np.zeros((2, 10, 2), dtype=np.float32)
    logits[0, :, 0] = 5  # sure and wrong
    logits[1, :, 1] = 5
    said = ExitOutputs(logits, np.ones(10, dtype=np.int64), np.arange(1, 11), [1, 2])
    result = evaluate_exits(said, [{"name": "entropy", "threshold": 0.5}], costs_for(10, 2), accuracy)
    assert choose_policy(result, 0.5) is None
    with pytest.raises(ValueError, match="share"):
        choose_policy(result, 1.0)


def test_inputs_that_do_not_fit_are_refused():
    good = {
        "logits": np.zeros((2, 3, 2)),
        "labels": np.zeros(3, int),
        "lengths": np.ones(3, int),
        "exit_layers": [1, 2],
    }
    ExitOutputs(**good)
    for key, value, message in [
        ("logits", np.zeros((3, 3, 2)), "not"),
        ("logits", np.zeros((2, 0, 2)), "not"),
        ("labels", np.zeros(4, int), "4 labels for 3"),
        ("texts", ["a"], "1 texts for 3"),
        ("logits", np.full((2, 3, 2), np.nan), "finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            ExitOutputs(**{**good, key: value})
    with pytest.raises(ValueError, match="2 predictions of the dense model for 3"):
        evaluate_exits(ExitOutputs(**good), [], costs_for(3, 2), accuracy, dense_predictions=np.zeros(2, int))
