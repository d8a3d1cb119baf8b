"""Files of a report: complete, readable again, escaped, drawn by a real browser without errors."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
import yaml
from report_sample import THRESHOLDS, make_report, models

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
from prunekit.reports.page import MAX_BYTES, render_page
from prunekit.reports.words import count_words, flops_words, percent_words, seconds_words, times_words

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in BROWSERS if (path := shutil.which(name))), None)
EVIL = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"throw 1\"> "
    "| `x` {{data}} <!-- \u2028"
)


def evil(report):
    """The same report, with markup in everything a user may write."""
    [system] = report.systems
    errors = [dataclasses.replace(e, text=EVIL, difficulty=EVIL) for e in system.evaluation.early_errors]
    evaluation = dataclasses.replace(system.evaluation, early_errors=errors)
    return dataclasses.replace(
        report,
        name=EVIL,
        task=EVIL,
        task_note=EVIL,
        label_names=[EVIL, EVIL],
        recipe={EVIL: [EVIL, {"deep": EVIL}]},
        command=EVIL,
        notes=[EVIL],
        systems=[dataclasses.replace(system, name=EVIL, evaluation=evaluation)],
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


def test_page_asks_for_nothing_outside(report):
    page = render_page(report)
    links = []

    class Links(HTMLParser):
        def handle_starttag(self, tag, attributes):
            links.extend(v for k, v in attributes if k in ("src", "href", "srcset", "action", "data"))

    Links().feed(page)
    assert links == ["#main"]
    code = re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.DOTALL)
    assert re.findall(r"https?://[^\s\"']+", code) == ["http://www.w3.org/2000/svg"]
    assert "@import" not in code and "url(" not in code and "fetch(" not in code


def test_page_escapes_what_users_write():
    page = render_page(evil(make_report()))
    assert page.count("<script") == 2 and page.count("</script>") == 2
    assert html.escape(EVIL) in page
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(data)["task"] == EVIL


PROBE = """
<script>
(() => {
  const seen = { errors: document.getElementById("errors").textContent };
  const body = document.querySelector("#policies tbody");
  const cells = (at) => [...body.rows].map((row) => row.cells[at].textContent);
  const rows = () => cells(POLICY);
  const scores = () => cells(POLICY + 1).map(parseFloat);
  seen.before = rows();
  const head = document.querySelectorAll("#policies th button")[POLICY + 1];
  head.click(); seen.down = scores();
  head.click(); seen.up = scores();
  seen.sort = head.parentElement.getAttribute("aria-sort");
  const mark = document.querySelector("#curve .hit");
  mark.dispatchEvent(new PointerEvent("pointerenter"));
  const tip = document.getElementById("tooltip");
  seen.tip = tip.hidden ? null : tip.textContent;
  mark.dispatchEvent(new PointerEvent("pointerleave"));
  seen.tipAfter = tip.hidden;
  const slider = document.querySelector("#leaving input[type=range]");
  const labels = () => [...document.querySelectorAll(".hit")].map((m) => m.getAttribute("aria-label"));
  const shares = () => labels().filter((label) => label.includes("leave here"));
  seen.sharesChosen = shares();
  slider.value = slider.max; slider.dispatchEvent(new Event("input"));
  seen.sharesAll = shares();
  const axis = () => document.querySelector("#curve figure svg").textContent;
  const fixed = axis();
  document.querySelector("#curve input[value=real]").click();
  seen.realDiffers = axis() !== fixed;
  const paper = () => getComputedStyle(document.body).backgroundColor;
  const first = paper();
  document.getElementById("theme").click();
  seen.themeDiffers = paper() !== first;
  seen.wide = document.documentElement.scrollWidth > innerWidth;
  seen.unnamed = [...document.querySelectorAll("svg[role], [tabindex], input, button, select")].filter((n) =>
    !(n.getAttribute("aria-label") || n.textContent.trim() || n.closest("label"))).length;
  seen.sections = [...document.querySelectorAll("main h2, main h3")].map((h) => h.textContent);
  seen.ready = document.documentElement.dataset.ready;
  seen.title = document.title;
  seen.errors += document.getElementById("errors").textContent;
  const out = document.createElement("pre");
  out.id = "seen"; out.textContent = JSON.stringify(seen);
  document.body.append(out);
})();
</script>
"""


def browse(tmp_path, report, width):
    """What a headless Chromium finds on the page after sorting, hovering, sliding and switching."""
    page = write_report(tmp_path, report)
    policy_column = "1" if len(report.systems) > 1 else "0"
    text = page.read_text().replace("</body>", PROBE.replace("POLICY", policy_column) + "</body>")
    probe = tmp_path / "probe.html"
    probe.write_text(text)
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},900",
            "--virtual-time-budget=1000",
            "--dump-dom",
            probe.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, f"the page did not get to its end: {console}"
    return json.loads(html.unescape(found[1])), console


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize(
    ("make", "width"),
    [
        (make_report, 1200),
        (make_report, 500),
        (lambda: make_report(3), 1200),
        (lambda: evil(make_report()), 1200),
    ],
    ids=["desktop", "narrow", "comparison", "evil"],
)
def test_page_in_a_real_browser(tmp_path, make, width):
    report = make()
    seen, console = browse(tmp_path, report, width)
    assert console == [] and seen["errors"] == ""
    assert seen["ready"] == "true"
    assert len(seen["before"]) == 8 * len(report.systems)
    assert seen["down"] == sorted(seen["down"], reverse=True) and seen["up"] == sorted(seen["up"])
    assert seen["sort"] == "ascending"
    assert "FLOPs" in seen["tip"] and "accuracy" in seen["tip"] and seen["tipAfter"]
    chosen = report.systems[0].evaluation.chosen
    for share, label in zip(chosen.exit_shares, seen["sharesChosen"], strict=True):
        assert f": {100 * share:.1f} %" in label
    assert "100.0 %" in seen["sharesAll"][-1] and seen["sharesAll"] != seen["sharesChosen"]
    assert seen["realDiffers"] and seen["themeDiffers"]
    assert not seen["wide"], "the page scrolls sideways"
    assert seen["unnamed"] == 0
    assert {"Score against FLOPs", "The result", "Mean exit layer by difficulty"} <= set(seen["sections"])
    assert {"What every layer kept", "Left early, and wrongly", "Stages"} <= set(seen["sections"])
    assert seen["title"].split() == f"{report.name}: {summary_sentence(report)}".split()


def sparse(report):
    """No dense score, no difficulty, no stages, nobody leaves early."""
    [system] = report.systems
    old = system.evaluation

    def bare(point):
        return dataclasses.replace(point, by_difficulty={}, short=None, kept=None)

    evaluation = dataclasses.replace(
        old,
        dense=dataclasses.replace(old.dense, scores=None, short_scores=None),
        all_layers=bare(old.all_layers),
        points=[],
        chosen=bare(old.all_layers),
        early_errors=[],
        early_error_count=0,
    )
    return dataclasses.replace(
        report, stages=[], recipe={}, command="", systems=[dataclasses.replace(system, evaluation=evaluation)]
    )


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_page_of_little_in_a_real_browser(tmp_path, report):
    seen, console = browse(tmp_path, sparse(report), 1000)
    assert console == [] and seen["errors"] == "" and seen["ready"] == "true"
    assert seen["before"] == ["all layers"]
    assert not {"Left early, and wrongly", "Stages"} & set(seen["sections"])


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


def test_numbers_in_words():
    assert [count_words(v) for v in (950, 12_345, 13_920_024)] == ["950", "12.3 k", "13.92 M"]
    assert [flops_words(v) for v in (0, 400, 1_270_892_544, 11_174_217_216, 6e10)] == [
        "0",
        "0.80 kFLOPs",
        "2.54 GFLOPs",
        "22.3 GFLOPs",
        "120 GFLOPs",
    ]
    assert [percent_words(v) for v in (None, 0.97184)] == ["–", "97.2 %"]
    assert [times_words(v) for v in (8.06, 120.4)] == ["8.1x", "120x"]
    assert [seconds_words(v) for v in (3.21, 754, 7200)] == ["3.2 s", "12.6 min", "2.0 h"]
