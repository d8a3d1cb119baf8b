"""Files of a report: complete, readable again, escaped, drawn by a real browser without errors."""

from __future__ import annotations

import dataclasses
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
import yaml
from report_sample import THRESHOLDS, evil, make_report, models, sparse

from prunekit.costs import Cost, exit_macs, total_cost
from prunekit.errors import RunError
from prunekit.reports import (
    curve_svg,
    model_card,
    model_figures,
    read_report,
    summary_sentence,
    write_card,
    write_report,
)
from prunekit.reports.markdown import policy_table
from prunekit.reports.page import MAX_BYTES
from prunekit.reports.words import (
    count_words,
    date_words,
    flops_words,
    lead_sentence,
    note_words,
    percent_words,
    seconds_words,
    times_words,
)


def test_files_are_written_and_read_back(tmp_path, report):
    (tmp_path / "kept.txt").write_text("mine")
    page = write_report(tmp_path, report)
    assert page == tmp_path / "index.html"
    assert {p.name for p in tmp_path.iterdir()} == {"report.json", "report.md", "index.html", "kept.txt"}
    assert page.stat().st_size < MAX_BYTES
    assert read_report(tmp_path) == read_report(tmp_path / "report.json") == report
    assert json.loads((tmp_path / "report.json").read_text())["schema_version"] == 1


def test_reports_that_cannot_be_read_say_why(tmp_path, report):
    with pytest.raises(RunError, match=r"report\.json"):
        read_report(tmp_path)
    (tmp_path / "report.json").write_text('{"schema_version": 1')
    with pytest.raises(RunError, match="no report"):
        read_report(tmp_path)
    for value, message in [
        ({**report.to_dict(), "schema_version": 99}, "99, expected 1"),
        ([], "expected 1"),
        ({**report.to_dict(), "seed": "many"}, "seed: .*integer"),
    ]:
        (tmp_path / "report.json").write_text(json.dumps(value))
        with pytest.raises(RunError, match=message):
            read_report(tmp_path)


def test_the_sentence_says_what_the_figures_say(report):
    system = report.systems[0]
    point = system.evaluation.chosen
    assert point.policy is not None
    expected = [
        report.dense.parameters / system.figures.parameters,
        report.dense.macs / point.all.macs,
        100 * point.all.scores["accuracy"] / system.evaluation.dense.scores["accuracy"],
    ]
    said = [float(x) for x in re.findall(r"[\d.]+(?=x| %)", summary_sentence(report))]
    assert said == [round(x, 1) for x in expected]


@pytest.mark.parametrize("make", [make_report, lambda: evil(make_report())], ids=["plain", "evil"])
def test_markdown_tables_are_whole(make, tmp_path):
    write_report(tmp_path, make())
    text = (tmp_path / "report.md").read_text()
    tables = [block.splitlines() for block in text.split("\n\n") if block.lstrip().startswith("| ")]
    assert len(tables) >= 7
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", row)) for row in table if row}
        assert len(widths) == 1, table
    assert "<script>" not in re.sub(r"\\[<>]", "", text.split("## How to reproduce")[0])


def test_policies_with_the_same_outcome_are_listed_once(report):
    """The chosen one stands for those that equal it, all layers for those that let nobody leave."""
    [system] = report.systems
    old = system.evaluation
    twins = [
        dataclasses.replace(point, policy={"name": "entropy", "threshold": 100 + i})
        for i, point in enumerate([old.chosen, old.all_layers, old.all_layers, old.points[0]])
    ]
    evaluation = dataclasses.replace(old, points=[*twins, *old.points])
    table = policy_table(dataclasses.replace(system, evaluation=evaluation))
    shown = [row.split("|")[1].strip() for row in table.splitlines()[2:]]
    assert shown == ["entropy 103", *(f"entropy {t}" for t in THRESHOLDS[1:]), "all layers"]


def test_a_report_of_little_is_written_too(tmp_path, report):
    small = sparse(report)
    write_report(tmp_path, small)
    assert "accuracy" in summary_sentence(small)
    assert curve_svg(small).startswith("<svg")
    assert "no example leaves early" in (tmp_path / "report.md").read_text()


def test_card_front_matter_and_figures(tmp_path, report):
    text = write_card(tmp_path, dataclasses.replace(report, license="apache-2.0")).read_text()
    _, front, body = text.split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["pipeline_tag"] == "text-classification" and about["license"] == "apache-2.0"
    assert about["library_name"] == "prunekit" and about["metrics"] == ["accuracy", "f1"]
    assert summary_sentence(report) in body and "import prunekit" in body
    assert "license" not in yaml.safe_load(model_card(report).split("---\n", 2)[1])


@pytest.mark.parametrize("systems", [1, 3])
def test_curve_is_valid_svg_with_every_point(systems):
    report = make_report(systems)
    root = ElementTree.fromstring(curve_svg(report))
    name = "{http://www.w3.org/2000/svg}"
    circles = root.findall(f"{name}circle")
    assert len(circles) == systems * (8 + 1) + (systems if systems > 1 else 0)
    width, height = float(root.get("width")), float(root.get("height"))
    assert all(0 < float(c.get("cx")) < width and 0 < float(c.get("cy")) < height for c in circles)
    texts = [t.text for t in root.findall(f"{name}text")]
    assert "95 % of the dense score" in texts and "dense" in texts
    if systems > 1:
        assert "patience <style>" in texts


def test_model_figures_of_a_slimmed_model():
    dense, slender = models()
    figures = model_figures(slender, "slender", 64)
    assert Cost(figures.parameters, figures.macs) == total_cost(slender, 64)
    assert figures.flops == 2 * figures.macs
    assert figures.embedding_parameters == (2000 + 512 + 2) * 128
    assert sum(p.parameters for p in figures.parts) == figures.parameters
    assert [e.macs for e in figures.by_exit] == exit_macs(slender, [64])[0].tolist()
    assert [(s.heads, s.heads_before, s.neurons) for s in figures.layers] == [(1, 1, 64)] * 6
    assert model_figures(dense, "dense").layers[0].heads == 8


def test_the_lead_says_what_the_chosen_policy_loses_on_the_reported_examples(report):
    [system, *rest] = report.systems
    chosen, whole = system.evaluation.chosen.all, system.evaluation.all_layers.all
    asked = {
        # In points, and, as versions before did it, as a share of the score.
        "max_drop_points": "1 point of accuracy against all layers",
        "max_drop": "1.0 % of the score of all layers",
    }
    for own, whole_score, points, share in (
        (0.9, 0.9193, "loses 1.9 points", "loses 2.1 %"),
        (0.91, 0.92, "loses 1 point", "loses 1.1 %"),
        (0.9192, 0.9193, "loses less than 0.1 points", "loses 0.0 %"),
        (0.95, 0.9193, "loses nothing", "loses nothing"),
        (-0.05, -0.03, "loses 2 points", None),
        (-0.05, 0.0, "loses 5 points", None),
    ):
        scores = {**chosen.scores, "accuracy": own}
        point = dataclasses.replace(system.evaluation.chosen, all=dataclasses.replace(chosen, scores=scores))
        layers = dataclasses.replace(
            system.evaluation.all_layers,
            all=dataclasses.replace(whole, scores={**whole.scores, "accuracy": whole_score}),
        )
        evaluation = dataclasses.replace(system.evaluation, chosen=point, all_layers=layers)
        for (key, most), loses in zip(asked.items(), (points, share), strict=True):
            told = dataclasses.replace(
                system, evaluation=evaluation, guarantee=None, **(dict.fromkeys(asked) | {key: 0.01})
            )
            lead = lead_sentence(dataclasses.replace(report, systems=[told, *rest]))
            assert f"the cheapest policy that lost at most {most} on the validation examples" in lead
            assert ("on the reported ones" in lead) == (loses is not None)
            assert loses is None or f"(on the reported ones it {loses})" in lead


def test_a_report_of_an_earlier_version_is_told_as_it_was_meant(report, tmp_path):
    """Its ``max_drop`` was a share of the score, and it has nothing else."""
    write_report(tmp_path, report)
    file = tmp_path / "report.json"
    told = json.loads(file.read_text())
    for system in told["systems"]:
        system["max_drop"] = system.pop("max_drop_points")
    file.write_text(json.dumps(told))
    read = read_report(tmp_path)
    assert "lost at most 1.0 % of the score of all layers on the validation" in lead_sentence(read)
    write_report(tmp_path, read)
    assert read_report(tmp_path) == read


def test_dates_and_notes_in_words():
    assert date_words("2026-01-31T09:05:00+02:00") == "31 January 2026, 07:05 UTC"
    assert date_words("yesterday") == "yesterday"
    assert note_words("9000 training, 1500 validation and 200 test examples") == (
        "9,000 training, 1,500 validation and 200 test examples."
    )
    assert note_words("") == "" and note_words("Drawn in 2024.") == "Drawn in 2024."


def test_numbers_in_words():
    assert [count_words(v) for v in (950, 12_345, 13_920_024)] == ["950", "12.3 k", "13.92 M"]
    assert [flops_words(v) for v in (0, 400, 1_270_892_544, 11_174_217_216, 6e10)] == [
        "0",
        "0.80 kFLOPs",
        "2.54 GFLOPs",
        "22.3 GFLOPs",
        "120 GFLOPs",
    ]
    assert [percent_words(v) for v in (None, 0.97184, 0.9325)] == ["–", "97.2 %", "93.3 %"]
    assert [times_words(v) for v in (8.06, 120.4)] == ["8.1x", "120x"]
    assert [seconds_words(v) for v in (3.21, 754, 7200)] == ["3.2 s", "12.6 min", "2.0 h"]
