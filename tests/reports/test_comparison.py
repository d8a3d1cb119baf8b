"""From runs to a comparison: averages, checks, what is written of it."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from statistics import fmean, stdev
from xml.etree import ElementTree

import numpy as np
import pytest
from comparison_sample import POLICIES, SYSTEMS, costs_of, make_comparison, make_run, make_runs
from report_sample import make_report
from rich.console import Console

import prunekit.reports
from prunekit.commands import result
from prunekit.data.metrics import score
from prunekit.errors import RunError
from prunekit.reports import (
    Comparison,
    RunReport,
    choose_policy,
    compare,
    evaluate_exits,
    exits_taken,
    layer_svg,
    read_report,
    score_flops_svg,
    write_report,
)
from prunekit.reports.comparison import CurveOrder, Difference, Spread
from prunekit.reports.comparison.markdown import comparison_markdown
from prunekit.reports.comparison.phrases import (
    difference_words,
    order_sentence,
    order_words,
    points_words,
    spread_words,
)
from prunekit.reports.comparison.tables import comparison_rows, difference_rows, layer_rows
from prunekit.reports.markdown import render_markdown
from prunekit.reports.points import share_kept
from prunekit.reports.words import compared_sentence

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def comparison():
    return make_comparison()


def by_hand(run, policy):
    """Score and cost of a run under a policy, from its outputs alone."""
    exits = exits_taken(run.test.logits, policy)
    said = run.test.logits.argmax(axis=2)[exits, np.arange(len(exits))]
    metrics = run.report.evaluation.metrics
    return (
        score(metrics, run.test.labels, said),
        float(np.mean(np.array(run.report.evaluation.exit_macs)[exits])),
    )


def test_averages_over_seeds_are_those_of_the_outputs(comparison):
    for task in comparison.tasks:
        assert [row.system for row in task.rows] == list(SYSTEMS)
        for row in task.rows:
            runs = [r for r in make_runs() if (r.system, r.task) == (row.system, task.task)]
            found = [by_hand(run, run.report.evaluation.chosen.policy) for run in runs]
            dense = [score(task.metrics, r.test.labels, r.test.dense_predictions) for r in runs]
            for metric in task.metrics:
                values = [scores[metric] for scores, _ in found]
                assert row.scores[metric].values == pytest.approx(values)
                assert row.scores[metric].mean == pytest.approx(fmean(values))
                assert row.scores[metric].std == pytest.approx(stdev(values))
                assert task.dense[metric].values == pytest.approx([d[metric] for d in dense])
            kept = [s[task.metric] / d[task.metric] for (s, _), d in zip(found, dense, strict=True)]
            assert row.kept.values == pytest.approx(kept)
            costs = [cost for _, cost in found]
            assert row.macs.values == pytest.approx(costs)
            assert row.speedup.values == pytest.approx([comparison.dense_macs / c for c in costs])
            assert row.speedup.mean == pytest.approx(comparison.dense_macs / fmean(costs))


def picks(run, task):
    """The plain way: ``[(cost, looks, score)]`` of the constant answer and of every policy."""
    constant = np.ones_like(run.validation.labels)
    found = [(0.0, score([task.metric], run.validation.labels, constant)[task.metric], task.constant)]
    held_out = {repr(p.policy): p for p in [*run.report.validation.points, run.report.validation.all_layers]}
    for policy in [None, *POLICIES["entropy"]]:
        scores, cost = by_hand(run, policy)
        found.append((cost, held_out[repr(policy)].all.scores[task.metric], scores[task.metric]))
    return sorted(found, key=lambda p: p[0])


def picked(policies, budget):
    best = policies[0]
    for policy in policies:
        if policy[0] <= budget and policy[1] > best[1]:
            best = policy
    return best[2]


def test_curves_and_areas(comparison):
    """The staircase drawn out budget by budget, from the outputs of the runs."""
    for task in comparison.tasks:
        row = task.rows[0]
        assert task.picked_on == "validation" and row.seeds == [1, 2, 3]
        runs = [r for r in make_runs() if (r.system, r.task) == (row.system, task.task)]
        policies = [picks(run, task) for run in runs]
        curve = zip(row.curve.macs, row.curve.mean, row.curve.low, row.curve.high, strict=True)
        for budget, mean, low, high in curve:
            if any(own[1][0] > budget for own in policies):
                assert (mean, low, high) == (None, None, None)
                continue
            values = [picked(own, budget) for own in policies]
            assert (mean, low, high) == pytest.approx((fmean(values), min(values), max(values)), abs=1e-6)
        middles = (np.arange(2000) + 0.5) / 2000 * task.budget
        for own, value in zip(policies, row.area.values, strict=True):
            assert value == pytest.approx(np.mean([picked(own, b) for b in middles]), abs=5e-4)


def test_short_examples_are_those_below_the_median(comparison):
    run, row = make_runs()[0], comparison.tasks[0].rows[0]
    short = np.array(run.test.lengths) < np.median(run.test.lengths)
    exits = exits_taken(run.test.logits, run.report.evaluation.chosen.policy)[short]
    said = run.test.logits.argmax(axis=2)[:, short][exits, np.arange(short.sum())]
    assert row.short_scores["f1"].values[0] == pytest.approx(
        score(["f1"], run.test.labels[short], said)["f1"]
    )
    macs = np.array(run.report.evaluation.exit_macs)[exits].mean()
    assert row.short_macs.values[0] == pytest.approx(macs)
    assert row.short_speedup.values[0] == pytest.approx(comparison.dense_macs / macs)


def corners(task):
    """Budget and mean of every curve where it is on the frontier."""
    curves = [row.curve for row in task.rows]
    return sorted({(m, v) for c in curves for m, v, on in zip(c.macs, c.mean, c.frontier, strict=True) if on})


def test_the_frontier_is_that_of_the_curves(comparison):
    for task in comparison.tasks:
        known = {
            (m, v)
            for r in task.rows
            for m, v in zip(r.curve.macs, r.curve.mean, strict=True)
            if v is not None
        }
        points = {(0.0, round(task.constant, 6)), *known}
        assert corners(task) == sorted(
            (m, v) for m, v in known if not any(a <= m and b >= v and (a < m or b > v) for a, b in points)
        )
        assert len(corners(task)) > 3


def test_a_policy_that_looks_bad_on_validation_is_not_on_the_frontier():
    """Nobody would have picked it, whatever it scores on the reported examples."""
    run = make_run("costeff", "mrpc", 1)
    favoured = next(p for p in run.report.evaluation.points if p.policy["threshold"] == 0.1)
    score = pytest.approx(favoured.all.scores["f1"], abs=1e-6)
    spoilt = [
        dataclasses.replace(p, all=dataclasses.replace(p.all, scores={"f1": 0.0, "accuracy": 0.0}))
        if p.policy == favoured.policy
        else p
        for p in run.report.validation.points
    ]
    validation = dataclasses.replace(run.report.validation, points=spoilt)
    blind = dataclasses.replace(run, report=dataclasses.replace(run.report, validation=validation))
    told, untold = (corners(compare([r], resamples=20).tasks[0]) for r in (run, blind))
    assert score in [v for _, v in told] and score not in [v for _, v in untold]


def test_the_constant_answer_is_the_validation_examples_most_frequent_class():
    run = make_run("costeff", "sst2", 1)
    labels = run.test.labels
    (task,) = compare([run], resamples=20).tasks
    assert task.constant == pytest.approx((labels == 1).mean())
    other = dataclasses.replace(run.validation, labels=1 - run.validation.labels)
    (task,) = compare([dataclasses.replace(run, validation=other)], resamples=20).tasks
    assert task.constant == pytest.approx((labels == 0).mean()) and task.constant < 0.5
    (task,) = compare([dataclasses.replace(run, validation=None)], resamples=20).tasks
    assert task.constant == pytest.approx((labels == 1).mean())


def test_orders_are_over_the_seeds_that_both_have():
    runs = [make_run("costeff", "mrpc", seed) for seed in (1, 2, 3)]
    alone = compare([runs[1], make_run("deebert", "mrpc", 2)], resamples=20).tasks[0]
    task = compare([*runs, make_run("deebert", "mrpc", 2)], resamples=20).tasks[0]
    assert task.orders == alone.orders and task.differences[0].seeds == [2]
    every = compare([*runs, *(make_run("deebert", "mrpc", s) for s in (1, 2, 3))], resamples=20).tasks[0]
    assert task.orders != every.orders


def test_sizes_and_effort(comparison):
    for system in comparison.systems:
        runs = [r for r in make_runs() if r.system == system.name]
        assert system.parameters == runs[0].report.figures.parameters
        assert system.parameters_fewer == pytest.approx(comparison.dense_parameters / system.parameters)
        assert system.macs_fewer == pytest.approx(comparison.dense_macs / system.macs)
        assert system.steps.values == [r.report.steps for r in runs]
        assert system.runs == [r.run for r in runs] and system.tried == SYSTEMS[system.name].tried
    one = comparison.system("tinybert")
    assert one.exits == [4] and one.backbone == "narrow slice of the teacher"


def test_averages_over_tasks(comparison):
    rows = [row for task in comparison.tasks for row in task.rows if row.system == "costeff"]
    assert comparison.macs("costeff") == pytest.approx(fmean(row.macs.mean for row in rows))
    assert comparison.speedup("costeff") == pytest.approx(
        comparison.dense_macs / fmean(row.macs.mean for row in rows)
    )
    assert comparison.kept("costeff") == pytest.approx(fmean(row.kept.mean for row in rows))


def test_differences_are_the_subjects_against_every_other(comparison):
    for task in comparison.tasks:
        assert [(d.second, d.at) for d in task.differences] == [
            (name, at) for name in list(SYSTEMS)[1:] for at in ("chosen", "area")
        ]
        rows = {row.system: row for row in task.rows}
        for d in task.differences:
            first, second = (
                rows[name].scores[task.metric] if d.at == "chosen" else rows[name].area
                for name in ("costeff", d.second)
            )
            assert d.mean == pytest.approx(first.mean - second.mean)
            assert d.low <= d.mean <= d.high and d.real == (d.low > 0 or d.high < 0)
            assert d.seeds == [1, 2, 3]
    real = {d.second: d.real for d in comparison.tasks[0].differences if d.at == "chosen"}
    assert real["deebert"] and not real["no-features"]


def test_the_same_system_twice_is_not_told_apart():
    runs = [make_run("costeff", "mrpc", seed) for seed in (1, 2)]
    twin = [dataclasses.replace(run, system="twin", label="twin", run="") for run in runs]
    task = compare([*runs, *twin], resamples=200).tasks[0]
    assert [(d.mean, d.low, d.high, d.p, d.real) for d in task.differences] == [(0, 0, 0, 1, False)] * 2
    (order,) = task.orders
    assert (order.always, order.below, order.above_share) == (False, [], 0.0)
    assert order_words(order, task.budget).startswith("level at every budget")


def test_order_of_sweeps_is_that_of_the_lines_through_their_dots(comparison):
    for task in comparison.tasks:
        rows = {row.system: row for row in task.rows}
        swept = [row.system for row in task.rows if len(row.exit_layers) > 1 and row.system != "costeff"]
        assert [order.second for order in task.sweep_orders] == swept
        for order in task.sweep_orders:
            lines = [
                np.array(sorted((p.macs, p.score) for p in rows[name].points)).T
                for name in (order.first, order.second)
            ]
            at = np.linspace(max(x[0] for x, _ in lines), min(x[-1] for x, _ in lines), 4001)[1:-1]
            ahead = np.subtract(*(np.interp(at, x, y) for x, y in lines))
            clear = np.abs(ahead) > 1e-6
            below = np.array([any(a <= x < b for a, b in order.below) for x in at])
            assert (below == (ahead < 0))[clear].all()
            assert order.above_share == pytest.approx((ahead > 0).mean(), abs=0.005)
            assert order.always == (not order.below and order.above_share > 0)


def test_order_of_curves_on_the_grid(comparison):
    """Where both curves have a value on the grid, the ranges say which is below."""
    for task in comparison.tasks:
        rows = {row.system: row for row in task.rows}
        for order in task.orders:
            mine, theirs = rows[order.first].curve, rows[order.second].curve
            compared = list(zip(mine.macs, mine.mean, theirs.mean, strict=True))
            assert compared[-1][0] == task.budget
            for budget, a, b in compared[:-1]:
                if a is not None and b is not None and abs(a - b) > 1e-5:
                    assert any(start <= budget < end for start, end in order.below) == (a < b)
            if compared[-1][1] < compared[-1][2] - 1e-5:
                assert order.below[-1][1] == task.budget
            assert order.always == (not order.below and order.above_share > 0)


def test_seeds_are_paired_and_what_is_missing_is_said():
    runs = [
        *(make_run("costeff", "mrpc", seed) for seed in (1, 2, 3)),
        make_run("deebert", "mrpc", 2),
        make_run("costeff", "sst2", 1),
        make_run("pabee", "sst2", 4),
    ]
    comparison = compare(runs, resamples=100)
    mrpc, sst2 = comparison.tasks
    assert [d.seeds for d in mrpc.differences] == [[2], [2]]
    chosen = mrpc.differences[0]
    metric = mrpc.metric
    assert chosen.mean == pytest.approx(
        mrpc.rows[0].scores[metric].values[1] - mrpc.rows[1].scores[metric].values[0]
    )
    assert sst2.differences == [] and sst2.orders == [] and sst2.seeds == [1, 4]
    notes = " ".join(comparison.notes)
    assert "DeeBERT style on mrpc lacks the seeds 1, 3." in notes
    assert "PABEE <style> was not run on mrpc." in notes and "DeeBERT style was not run on sst2." in notes
    assert "no seed in common" in str(difference_rows(comparison, sst2))
    assert "–" in comparison_markdown(comparison)


def test_another_dense_model_is_told_and_does_not_count():
    run, other = make_run("costeff", "sst2", 1), make_run("tinybert", "sst2", 1)
    dense = dataclasses.replace(other.report.evaluation.dense, scores={"accuracy": 0.5})
    evaluation = dataclasses.replace(other.report.evaluation, dense=dense)
    other = dataclasses.replace(other, report=dataclasses.replace(other.report, evaluation=evaluation))
    comparison = compare([run, other], resamples=20)
    row = comparison.tasks[0].rows[1]
    assert row.kept.mean == pytest.approx(row.scores["accuracy"].mean / 0.995)
    assert any(
        note.startswith("TinyBERT style on sst2: the dense model of its own runs has accuracy 50.0 %, that")
        for note in comparison.notes
    )


def test_one_seed_has_a_band_over_examples_and_a_note():
    comparison = compare([make_run(name, "mrpc", 1) for name in ("costeff", "tinybert")], resamples=300)
    row = comparison.tasks[0].rows[0]
    assert row.area.std is None and "one seed" in comparison.notes[0]
    assert row.curve.low[-1] < row.curve.mean[-1] < row.curve.high[-1]
    single = comparison.tasks[0].rows[1]
    right = single.scores["f1"].mean
    assert single.curve.mean[-1] == pytest.approx(right, abs=1e-6) and len(single.points) == 1
    assert 0.005 < single.curve.high[-1] - single.curve.low[-1] < 0.2


def test_without_validation_policies_are_picked_on_what_is_reported():
    runs = [dataclasses.replace(make_run(n, "mrpc", 1), validation=None) for n in ("costeff", "deebert")]
    comparison = compare(runs, resamples=50)
    task = comparison.tasks[0]
    known = [v for v in task.rows[0].curve.mean if v is not None]
    assert task.picked_on == "test" and known == sorted(known)
    assert "best on the reported examples themselves" in comparison_markdown(comparison)


def changed(run, **test):
    return dataclasses.replace(run, run="runs/other", test=dataclasses.replace(run.test, **test))


def test_what_cannot_be_compared_is_refused():
    run, other = make_run("costeff", "mrpc", 1), make_run("deebert", "mrpc", 1)
    with pytest.raises(RunError, match="no runs to compare"):
        compare([])
    with pytest.raises(RunError, match="no run is of 'nobody'"):
        compare([run], "nobody")
    with pytest.raises(RunError, match="same system, task and seed"):
        compare([run, run])
    with pytest.raises(RunError, match=r"runs/other and runs/costeff\S* report on different examples"):
        compare([run, changed(other, labels=1 - other.test.labels)])
    with pytest.raises(RunError, match="different examples"):
        compare([run, changed(other, digest="0" * 64)])
    with pytest.raises(RunError, match=r"its outputs give .* its report says"):
        compare([run, changed(other, logits=other.test.logits[::-1])], resamples=10)
    sst2 = dataclasses.replace(make_run("deebert", "sst2", 1), task="mrpc")
    with pytest.raises(RunError, match=r"is scored by accuracy, .* by f1, accuracy"):
        compare([run, sst2])
    long = dataclasses.replace(
        other,
        report=dataclasses.replace(
            other.report,
            evaluation=dataclasses.replace(other.report.evaluation, sequence_length=64),
        ),
    )
    with pytest.raises(RunError, match=r"at 64 tokens, .* at 128"):
        compare([run, long])
    fewer = make_run("costeff", "mrpc", 2, dataclasses.replace(SYSTEMS["costeff"], exits=(2, 6)))
    with pytest.raises(RunError, match="exits on different layers"):
        compare([run, fewer], resamples=10)


def test_written_and_read_again(comparison, tmp_path):
    report = dataclasses.replace(make_report(), comparison=comparison)
    write_report(tmp_path, report)
    again = read_report(tmp_path)
    assert again.comparison == comparison and isinstance(again.comparison, Comparison)
    old = json.loads((tmp_path / "report.json").read_text())
    del old["comparison"]
    assert RunReport.from_dict(old).comparison is None
    text = (tmp_path / "report.md").read_text()
    assert compared_sentence(comparison) in text and "alone: reviews, seed 42" in text


def test_sentence(comparison):
    sentence = compared_sentence(comparison)
    assert re.fullmatch(
        r"3\.2x fewer parameters, \d+\.\dx fewer FLOPs, \d\d\.\d % of the score\.", sentence
    ), sentence
    assert f"{comparison.speedup('costeff'):.1f}x fewer FLOPs" in sentence
    assert f"{100 * comparison.kept('costeff'):.1f} %" in sentence
    unknown = [
        dataclasses.replace(t, rows=[dataclasses.replace(r, kept=None) for r in t.rows])
        for t in comparison.tasks
    ]
    words = compared_sentence(dataclasses.replace(comparison, tasks=unknown))
    assert re.search(r"FLOPs, mrpc f1 \d\d\.\d %, sst2 accuracy \d\d\.\d %\.$", words)


def test_differences_in_words():
    def words(mean, low, high, seeds=(1, 2)):
        return difference_words(
            Difference("a", "b", "chosen", mean, low, high, 0.01, low > 0 or high < 0, list(seeds))
        )

    assert words(0.012, 0.003, 0.021) == "+1.2 points [+0.3, +2.1], real"
    assert words(0.012, 0.003, 0.021, [1]) == "+1.2 points [+0.3, +2.1], more than the examples' chance"
    assert words(-0.002, -0.0101, 0.0004, [1]) == "−0.2 points [−1.0, 0.0], not told apart"
    assert words(-0.002, -0.0101, 0.0004) == "−0.2 points [−1.0, 0.0], not told apart"
    assert points_words(-0.0004) == "0.0"
    assert spread_words(Spread.of([0.84, 0.86])) == "85.0 ± 1.4"
    assert spread_words(Spread.of([0.84])) == "84.0" and spread_words(None) == "–"


def test_orders_in_words(comparison):
    budget = 1.27e9

    def words(below, share):
        return order_words(CurveOrder("a", "b", not below and share > 0, below, share), budget)

    assert words([], 1.0) == "above at every budget up to 2.54 GFLOPs"
    assert words([], 0.864) == "below at no budget up to 2.54 GFLOPs, above at 86.4 % of the budgets"
    assert words([], 0.0) == "level at every budget up to 2.54 GFLOPs"
    assert words([[1e8, 1.2e8]], 0.9) == "above at 90.0 % of the budgets; below at 200 to 240 MFLOPs"
    assert words([[budget, budget]], 0.9).endswith("below at 2.54 GFLOPs")
    three = words([[1e8, 1.2e8], [2e8, 6e8], [7e8, 8e8]], 0.5)
    assert three.endswith("below at 200 to 240 MFLOPs, 400 MFLOPs to 1.20 GFLOPs, 1 more range")
    told = order_sentence(comparison, "mrpc", comparison.tasks[0].orders[0])
    assert told.startswith("On mrpc the curve of COST-EFF, set against that of DeeBERT style, lies ")


def cells(line):
    return [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown_tables(comparison):
    text = comparison_markdown(comparison)
    header, rows = comparison_rows(comparison)
    labels = [made.label for made in SYSTEMS.values()]
    assert [row[0] for row in rows] == [
        "dense, single exit",
        *labels,
        *(f"{label}, short examples" for label in labels),
    ]
    for line in text.splitlines():
        if line.startswith("| COST-EFF |") and "±" in line and "/" in line:
            assert cells(line)[:2] == ["COST-EFF", "476.3 k"] and len(cells(line)) == len(header)
    assert "PABEE \\<style\\>" in text and "<style>" not in text
    row = comparison.tasks[0].rows[0]
    gain = 100 * (row.short_scores["f1"].mean - row.scores["f1"].mean)
    assert f"({gain:+.1f})" in rows[1 + len(labels)][5]
    header, rows = layer_rows(comparison, comparison.tasks[0])
    assert header == ["System", *(f"Layer {i}" for i in range(1, 7))]
    tiny = next(r for r in rows if r[0] == "TinyBERT style")
    assert [bool(cell) for cell in tiny[1:]] == [False, False, False, True, False, False]
    tables = [t.splitlines() for t in re.findall(r"(?:^\|.*\n)+", text, flags=re.M)]
    assert len(tables) == 2 + 3 * len(comparison.tasks)
    for table in tables:
        assert len({len(cells(line)) for line in table}) == 1


def test_report_in_markdown_has_both(comparison):
    report = dataclasses.replace(make_report(), comparison=comparison)
    text = render_markdown(report)
    assert text.index("## The comparison") < text.index("## The result")
    assert "## The comparison" not in render_markdown(make_report())


def test_printed(comparison, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(result.console, "out", lambda: Console(file=stream, width=220))
    result.print_comparison(comparison)
    text = stream.getvalue()
    assert "PABEE <style>" in text and "[95 % interval]" in text and "not told apart" in text
    assert text.rstrip().endswith(compared_sentence(comparison))


@pytest.mark.parametrize("draw", [score_flops_svg, layer_svg])
@pytest.mark.parametrize("tasks", [None, ["sst2"]])
def test_pictures(comparison, draw, tasks):
    root = ElementTree.fromstring(draw(comparison, tasks))
    width, height = float(root.get("width")), float(root.get("height"))
    words = [t.text for t in root.iter(f"{SVG}text")]
    assert {s.label for s in comparison.systems} <= set(words)
    for node in root.iter():
        for key in ("x", "cx", "y", "cy"):
            if node.get(key) is not None and node.tag != f"{SVG}circle":
                assert 0 <= float(node.get(key)) <= (width if "x" in key else height)
    for circle in root.iter(f"{SVG}circle"):
        assert 0 <= float(circle.get("cx")) <= width
    paths = [node.get("d") for node in root.iter(f"{SVG}path")]
    assert all(re.fullmatch(r"[MLHVhvl0-9. Z-]+", path) for path in paths)
    assert "nan" not in ElementTree.tostring(root, encoding="unicode").lower()
    with pytest.raises(ValueError, match="no task"):
        draw(comparison, ["other"])


def test_picture_shows_the_frontier_and_the_chosen_points(comparison):
    root = ElementTree.fromstring(score_flops_svg(comparison, ["mrpc"]))
    titles = [t.text for c in root.iter(f"{SVG}circle") for t in c]
    assert "COST-EFF, chosen" in titles and "entropy 0.3" in titles and "TinyBERT style" in titles
    (group,) = root.iter(f"{SVG}g")
    best = [p for p in group.iter(f"{SVG}path") if p.get("class") == "best"]
    assert len(best) == 1 and best[0].get("d").count("L") == 2 * len(corners(comparison.tasks[0])) - 1
    words = [t.text for t in root.iter(f"{SVG}text")]
    assert "95 % of the dense score" in words and "5 % of the dense FLOPs" in words


def read_off(root):
    """What the ticks say of a place of the picture: FLOPs, logarithmic, and percent."""
    words = [(float(t.get("x")), t.text) for t in root.iter(f"{SVG}text")]
    flops = [(x, float(t[:-2]) * {"M": 1e6, "G": 1e9}[t[-1]]) for x, t in words if re.match(r"[\d.]+ .$", t)]
    grid = [p.get("d") for p in root.iter(f"{SVG}path") if p.get("class") == "grid"]
    heights = [float(re.match(r"M\d+ ([\d.]+)H", d)[1]) for d in grid]
    percent = [float(t) for _, t in words if re.match(r"[\d.]+$", t)]
    across = np.polyfit([x for x, _ in flops], np.log([value for _, value in flops]), 1)
    upwards = np.polyfit(heights, percent, 1)
    return lambda x: np.exp(np.polyval(across, float(x))), lambda y: np.polyval(upwards, float(y))


@pytest.mark.parametrize("place", [0, 1])
def test_the_guides_are_at_their_shares_of_the_dense_model(comparison, place):
    task = comparison.tasks[place]
    root = ElementTree.fromstring(score_flops_svg(comparison, [task.task]))
    flops, percent = read_off(root)
    guides = [p.get("d") for p in root.iter(f"{SVG}path") if p.get("class") == "guide"]
    upright, level = (re.fullmatch(r"M([\d.]+) ([\d.]+)[VH]\d+", d) for d in guides)
    # Six layers at 128 tokens: four matrices of attention, two of 512 neurons, scores and their sums.
    dense = 6 * (128 * (4 * 128**2 + 2 * 128 * 512) + 2 * 128**2 * 128) + 2 * 128
    assert flops(upright[1]) == pytest.approx(0.05 * 2 * dense, rel=1e-3)
    runs = [run for run in make_runs(("costeff",)) if run.task == task.task]
    scores = [score([task.metric], run.test.labels, run.test.dense_predictions) for run in runs]
    dense_score = fmean(found[task.metric] for found in scores)
    assert percent(level[2]) == pytest.approx(95 * dense_score, abs=0.02)


def test_the_chosen_points_are_at_their_flops_and_score(comparison):
    task = comparison.tasks[0]
    root = ElementTree.fromstring(score_flops_svg(comparison, [task.task]))
    flops, percent = read_off(root)
    dots = {c[0].text: c for c in root.iter(f"{SVG}circle")}
    for name, title in (("costeff", "COST-EFF, chosen"), ("tinybert", "TinyBERT style")):
        runs = [r for r in make_runs((name,)) if r.task == task.task]
        found = [by_hand(run, run.report.evaluation.chosen.policy) for run in runs]
        mean = fmean(scores[task.metric] for scores, _ in found)
        assert flops(dots[title].get("cx")) == pytest.approx(2 * fmean(cost for _, cost in found), rel=1e-3)
        assert percent(dots[title].get("cy")) == pytest.approx(100 * mean, abs=0.02)


@pytest.mark.parametrize("dense_too", [False, True])
def test_scores_below_chance_have_no_shares(dense_too):
    """Matthews' correlation of systems that are mostly wrong, and of a dense model that is or is not."""
    runs = []
    for run in make_runs(systems=("costeff", "deebert"), tasks=("sst2",), seeds=(1, 2)):
        made = SYSTEMS[run.system]
        said = {
            "test": dataclasses.replace(run.test, logits=-run.test.logits),
            "validation": dataclasses.replace(run.validation, logits=-run.validation.logits),
        }
        dense = run.test.dense_predictions
        dense = 1 - dense if dense_too else dense
        evaluations = {}
        for split in ("validation", "test"):
            evaluations[split] = evaluate_exits(
                said[split],
                POLICIES[made.policy],
                costs_of(made, said[split].lengths),
                lambda true, answered: score(["matthews", "accuracy"], true, answered),
                split=split,
                dense_predictions=dense if split == "test" else None,
                chosen=choose_policy(evaluations["validation"], 0.01) if split == "test" else None,
            )
        report = dataclasses.replace(
            run.report, evaluation=evaluations["test"], validation=evaluations["validation"]
        )
        runs.append(dataclasses.replace(run, report=report, test=said["test"], validation=said["validation"]))
    comparison = compare(runs, "costeff", resamples=200)
    [task] = comparison.tasks
    assert all(row.scores["matthews"].mean < 0 and row.kept is None for row in task.rows)
    assert (task.dense["matthews"].mean < 0) == dense_too
    assert comparison.kept("costeff") is None
    header, rows = comparison_rows(comparison)
    kept = [row[header.index("Kept")] for row in rows]
    assert kept == ["–" if dense_too else "100.0 %", *["–"] * (len(rows) - 1)]
    assert "sst2 matthews -" in compared_sentence(comparison)
    assert "of the score" not in compared_sentence(comparison)
    picture = score_flops_svg(comparison)
    assert "nan" not in picture and ("95 % of the dense score" in picture) != dense_too
    assert "nan" not in layer_svg(comparison)
    assert "nan" not in comparison_markdown(comparison)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not here")
def test_page_and_report_mean_the_same_by_a_share():
    scores = [-0.2, 0.0, 0.3, 0.9, None]
    file = Path(prunekit.reports.__file__).parent / "assets" / "words.js"
    wanted = json.dumps([[own, dense] for own in scores[:-1] for dense in scores])
    code = f"{file.read_text()}\nconsole.log(JSON.stringify({wanted}.map((p) => shareKept(...p))))"
    found = json.loads(subprocess.run(["node", "-e", code], capture_output=True, check=True).stdout)
    assert found == [share_kept(own, dense) for own, dense in json.loads(wanted)]
