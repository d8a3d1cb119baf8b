"""What a reader could be misled by or miss: rounding, settings, commands, seeds, a small screen."""

from __future__ import annotations

import dataclasses

import pytest
from browser import needs_chromium
from comparison_sample import compared, make_comparison

from prunekit.reports import write_report
from prunekit.reports.comparison.phrases import difference_words, points_words
from prunekit.reports.reproducing import commands


def several(runs, comparison=None):
    """The comparison, its subject having these runs and every other system one within each of them."""
    made = comparison or make_comparison(tasks=("sst2",))
    systems = [
        dataclasses.replace(
            s, runs=runs if s.name == made.subject else [f"{run}/compare/{s.name}" for run in runs]
        )
        for s in made.systems
    ]
    return dataclasses.replace(made, systems=systems)


def texts(browser, selector):
    return browser.run(f"[...document.querySelectorAll('{selector}')].map(n => n.textContent)")


@needs_chromium
@pytest.mark.slow
def test_an_interval_is_the_same_on_the_page_and_in_markdown(browser, tmp_path):
    """Rounded twice, -3.650004 points would be -3.6 on one and -3.7 on the other."""
    comparison = make_comparison(tasks=("sst2",))
    [task] = comparison.tasks
    first, *others = task.differences
    close = dataclasses.replace(first, low=-0.03650004)
    told = dataclasses.replace(comparison, tasks=[dataclasses.replace(task, differences=[close, *others])])
    page = write_report(tmp_path, compared(told))
    browser.open(page)
    column = 2 if first.at == "area" else 5
    shown = browser.run(f"document.querySelector('#differences tbody tr').cells[{column}].textContent")
    assert shown == f"{points_words(close.low)} to {points_words(close.high)}"
    assert difference_words(close) in (tmp_path / "report.md").read_text().replace("\\", "")


@needs_chromium
@pytest.mark.slow
def test_settings_count_what_was_set_otherwise_and_a_stage_once(browser, tmp_path):
    comparison = make_comparison(tasks=("sst2",))
    own, other, *rest = comparison.systems
    shared = {"seed": 1, "finetune": {"epochs": 3}}
    mine = {**shared, "stages": ["finetune", "assistant"], "assistant": {"epochs": 2, "features": 1}}
    mine["compare"] = {"label": own.label, "systems": {"deebert": {"grid": {}, "shares": None}}}
    theirs = {**shared, "name": "other", "stages": ["finetune"], "compare": None}
    systems = [
        dataclasses.replace(own, settings=mine),
        dataclasses.replace(other, settings=theirs),
        *(dataclasses.replace(s, settings={}) for s in rest),
    ]
    browser.open(write_report(tmp_path, compared(dataclasses.replace(comparison, systems=systems))))
    assert texts(browser, "#settings summary") == [own.label, f"{other.label} (2 differences)"]
    rows = browser.run(
        "[...document.querySelectorAll('#settings tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
    )
    assert [row[0] for row in rows] == ["stages", "stage assistant"]
    assert rows[1][1:] == ["–", "epochs: 2\nfeatures: 1"]


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 390])
def test_a_comparison_of_several_runs_gives_all_commands_and_all_seeds(browser, tmp_path, width):
    report = compared(several(["runs/mine-1", "runs/mine-2", "runs/mine 3"]))
    browser.open(write_report(tmp_path, report), width)
    told = commands(report)
    assert [command for _, command in told] == [
        report.command,
        "prunekit compare runs/mine-1 runs/mine-2 'runs/mine 3' --output comparison",
    ]
    assert "and so for every seed (1, 2, 3)" in told[0][0]
    assert texts(browser, "#reproduce .copy pre") == [command for _, command in told]
    assert all(command in (tmp_path / "report.md").read_text() for _, command in told)
    cut = "[...document.querySelectorAll('#reproduce .copy pre')].filter(p => p.scrollWidth > p.clientWidth)"
    assert browser.run(f"{cut}.length") == 0
    assert texts(browser, ".eyebrow")[0].endswith("sst2 · seeds 1, 2, 3")
    [which] = texts(browser, ".which")
    assert which.startswith(f"One of the 3 runs of {report.comparison.systems[0].label}: ")
    assert f"seed {report.seed}. Its figures differ from the means above." in which


@needs_chromium
@pytest.mark.slow
def test_parts_are_headings_and_notes_a_list(browser, tmp_path):
    browser.open(write_report(tmp_path, compared()))
    assert [t.split(" at ")[0] for t in texts(browser, "h2.part")] == ["The comparison", "A closer look"]
    comparison = make_comparison()
    notes = texts(browser, "#systems .notes li")
    assert notes == [f"{comparison.tasks[0].note}.", *comparison.notes]


@needs_chromium
@pytest.mark.slow
def test_one_seed_is_not_said_to_be_spanned(browser, tmp_path):
    browser.open(write_report(tmp_path, compared(make_comparison(seeds=(1,)))))
    words = " ".join(texts(browser, "#systems, #differences > p, #layers > p, #shares > p"))
    assert "over examples, " in words
    for wrong in ("examples and seeds", "span the seeds", "Mean over 1 seed", "mean over seeds"):
        assert wrong not in words


@needs_chromium
@pytest.mark.slow
def test_a_small_screen_keeps_switches_whole_and_texts_in_sight(browser, tmp_path):
    browser.open(write_report(tmp_path, compared()), 390)
    tops = "[...document.querySelectorAll('#curve .choice label')].map(l => l.getBoundingClientRect().top)"
    assert len(set(browser.run(tops))) == 1
    moved = browser.run(
        "(box => { box.scrollLeft = 1e6; return [box.scrollLeft, box.getBoundingClientRect().left,"
        " box.querySelector('td.text').getBoundingClientRect().left]; })"
        "(document.querySelector('#errors-early .scroll'))"
    )
    assert moved[0] > 50 and moved[2] == pytest.approx(moved[1], abs=1)
    heads = "[...document.querySelectorAll('#systems thead th')].map(h => h.getBoundingClientRect().height)"
    assert max(browser.run(heads)) < 45
