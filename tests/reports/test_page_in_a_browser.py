"""The page in a real, headless Chromium: with a mouse, with a keyboard, on a phone, in the dark, on paper."""

from __future__ import annotations

import dataclasses
import re

import pytest
from browser import needs_chromium
from comparison_sample import compared, make_comparison, twice
from report_sample import EVIL, evil, make_report, sparse

from prunekit.reports import summary_sentence, write_report
from prunekit.reports.comparison.phrases import points_words
from prunekit.reports.words import (
    compared_sentence,
    count_words,
    flops_words,
    percent_words,
    seconds_words,
    times_words,
)

pytestmark = [pytest.mark.slow, needs_chromium]

MARKS = "[...document.querySelectorAll('#SECTION .hit')]"
TIP = "(t => t.hidden ? null : t.innerText)(document.getElementById('tooltip'))"
WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
UNNAMED = """[...document.querySelectorAll('svg[role], [tabindex], input, button, select, [role=region]')]
    .filter(n => !(n.getAttribute('aria-label') || n.textContent.trim() || n.closest('label'))).length"""
CUT_BELOW = """[...document.querySelectorAll('.scroll:not(.tall)')]
    .filter(box => box.scrollHeight > box.clientHeight).length"""
ERRORS = "document.getElementById('errors').textContent"
PAPER = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(autouse=True)
def quiet_console(browser):
    """Nothing is ever written to the console, and no error is shown on the page."""
    browser.console.clear()
    yield
    assert browser.console == [] and browser.run(ERRORS) == ""


def evil_comparison():
    comparison = make_comparison()
    systems = [dataclasses.replace(s, label=f"{EVIL} {s.label}", backbone=EVIL) for s in comparison.systems]
    return dataclasses.replace(comparison, systems=systems, notes=[EVIL], dense_name=EVIL)


def column(browser, section, index):
    return browser.run(
        f"[...document.querySelectorAll('#{section} tbody:last-of-type tr')]"
        f".map(r => r.cells[{index}].textContent)"
    )


def head(section, index):
    return f"document.querySelectorAll('#{section} thead button')[{index}]"


def slide(browser, section, value):
    browser.run(
        f"(s => {{ s.value = {value}; s.dispatchEvent(new Event('input')); }})"
        f"(document.querySelector('#{section} input[type=range]'))"
    )


def marks(browser, section):
    return browser.run(MARKS.replace("SECTION", section) + ".map(m => m.getAttribute('aria-label'))")


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize(
    "make",
    [
        make_report,
        lambda: make_report(3),
        lambda: evil(make_report()),
        lambda: sparse(make_report()),
        compared,
        lambda: compared(evil_comparison()),
    ],
    ids=["run", "runs", "evil", "sparse", "comparison", "evil comparison"],
)
def test_it_renders_from_the_file_system(browser, tmp_path, make, width):
    report = make()
    browser.open(write_report(tmp_path, report), width)
    sentence = compared_sentence(report.comparison) if report.comparison else summary_sentence(report)
    assert browser.run("document.title").split() == f"{report.name}: {sentence}".split()
    assert not browser.run(WIDE), "the page scrolls sideways"
    assert browser.run(CUT_BELOW) == 0, "a table that is shown whole has a scroll bar beside it"
    assert browser.run(UNNAMED) == 0
    assert browser.run("document.images.length") == 0
    assert browser.run("[...document.querySelectorAll('figure svg')].every(s => s.childElementCount)")
    twice = browser.run(
        "(i => i.length - new Set(i).size)([...document.querySelectorAll('[id]')].map(e => e.id))"
    )
    assert twice == 0
    links = browser.run("[...document.querySelectorAll('#nav a')].map(a => !!document.querySelector(a.hash))")
    assert links and all(links)


@pytest.mark.parametrize("width", [1200, 390])
def test_no_two_names_in_a_plot_lie_on_each_other(browser, tmp_path, width):
    # More names than there is room for.
    browser.open(write_report(tmp_path, compared(twice(twice(make_comparison())))), width)
    overlaps = """(nodes => nodes.flatMap((a, i) => nodes.slice(i + 1).filter(b => {
        const [p, q] = [a.getBBox(), b.getBBox()];
        return a.ownerSVGElement === b.ownerSVGElement && Math.abs(p.y - q.y) < 12
            && p.x < q.x + q.width && q.x < p.x + p.width;
    }).map(b => [a.textContent, b.textContent])))([...document.querySelectorAll('svg text.strong.halo')])"""
    assert browser.run(overlaps) == []
    assert browser.run("document.querySelectorAll('svg text.strong.halo').length") > 1


def one_not_saved(report):
    """Of those that left early and wrongly, the last exit would have been wrong about one as well."""
    [system] = report.systems
    first, *others = system.evaluation.early_errors
    errors = [dataclasses.replace(first, last_exit_says=first.predicted), *others]
    evaluation = dataclasses.replace(system.evaluation, early_errors=errors)
    return dataclasses.replace(report, systems=[dataclasses.replace(system, evaluation=evaluation)])


def test_a_run_sorts_hovers_and_slides(browser, tmp_path):
    report = one_not_saved(make_report())
    [system] = report.systems
    chosen = system.evaluation.chosen
    browser.open(write_report(tmp_path, report))
    assert len(column(browser, "policies", 0)) == 8
    browser.click(head("policies", 1))
    scores = [float(s.split()[0]) for s in column(browser, "policies", 1)]
    assert scores == sorted(scores, reverse=True)
    browser.click(head("policies", 1))
    scores = [float(s.split()[0]) for s in column(browser, "policies", 1)]
    assert scores == sorted(scores)
    assert browser.run(head("policies", 1) + ".parentElement.getAttribute('aria-sort')") == "ascending"

    wanted = [m for m in marks(browser, "curve") if m.startswith(f"{chosen.label}:")]
    x, y = browser.middle(f"document.querySelector('#curve [aria-label=\"{wanted[0]}\"]')")
    browser.move(x + 2, y + 2)
    tip = browser.run(TIP)
    assert tip.startswith(chosen.label)
    assert f"accuracy {100 * chosen.all.scores['accuracy']:.1f} %, {100 * chosen.kept:.1f} % of dense" in tip
    assert f"{chosen.all.speedup:.1f}× fewer" in tip
    browser.move(5, 5)
    assert browser.run(TIP) is None

    def leaving():
        return [m for m in marks(browser, "leaving") if "leave here" in m]

    assert [m.split(": ")[1].split(" of")[0] for m in leaving()] == [
        f"{100 * s:.1f} %" for s in chosen.exit_shares
    ]
    slide(browser, "leaving", "s.max")
    assert "100.0 %" in leaving()[-1]
    axis = "document.querySelector('#curve figure svg').textContent"
    before = browser.run(axis)
    browser.click("document.querySelector('#curve input[value=real]').parentElement")
    assert browser.run(axis) != before

    wrong = system.evaluation.early_errors
    assert len(column(browser, "errors-early", 0)) == len(wrong)
    saved = [e.text for e in wrong if e.last_exit_says == e.label]
    assert 0 < len(saved) < len(wrong)
    browser.click("document.querySelector('#errors-early input')")
    assert column(browser, "errors-early", 0) == saved


def test_a_comparison_says_what_its_figures_say(browser, tmp_path):
    comparison = make_comparison()
    browser.open(write_report(tmp_path, compared()))
    labels = {s.name: s.label for s in comparison.systems}
    for index, task in enumerate(comparison.tasks):
        browser.click(f"document.querySelector('#nav input[value=\"{index}\"]').parentElement")
        row, shown = task.rows[0], {"f1": "F1"}.get(task.metric, task.metric)
        assert column(browser, "systems", 0) == [labels[r.system] for r in task.rows]
        assert column(browser, "systems", 1)[0] == (
            f"{100 * row.scores[task.metric].mean:.1f} ± {100 * row.scores[task.metric].std:.1f} %"
            f"{100 * row.kept.mean:.1f} % kept"
        )
        pinned = browser.run("document.querySelector('#systems tbody.pinned tr').innerText")
        assert pinned.startswith(comparison.dense_name)
        words = browser.run("document.querySelector('#systems p').textContent")
        by_area = {d.second: d for d in task.differences if d.at == "area"}
        ahead = [labels[n] for n, d in by_area.items() if d.real and d.mean > 0]
        said = words.split("beyond chance, of ")[1].split(". ")[0] if ahead else ""
        assert [name for name in labels.values() if name in said] == ahead
        real = [text.rpartition(" (")[0] for text in column(browser, "differences", 3)]
        assert real == ["yes" if d.real else "unclear" for d in by_area.values()]
        shares = marks(browser, "shares")
        deepest = f"{labels[row.system]}, layer {row.exit_layers[-1]}: {100 * row.exit_shares[-1]:.1f} %"
        assert any(m.startswith(deepest) for m in shares)
        exits = [m for m in marks(browser, "layers") if m.startswith(f"{labels[row.system]}, layer")]
        for score, mark in zip(row.exit_scores, exits, strict=True):
            said = float(mark.split(f"{shown} ")[1].split(" %")[0])
            assert said == pytest.approx(100 * score.mean, abs=0.051)


def test_words_and_page_round_alike(browser, tmp_path):
    browser.open(write_report(tmp_path, compared()))
    scores = [right / 2000 for right in range(2001)]
    assert browser.run(f"{scores}.map(v => percent(v))") == [percent_words(score) for score in scores]
    differences = [right / 2000 for right in range(-200, 201)]
    assert browser.run(f"{differences}.map(points)") == [points_words(value) for value in differences]
    counts = [*range(10_000, 20_000, 50), *range(1_000_000, 2_000_000, 12_500)]
    assert browser.run(f"{counts}.map(count)") == [count_words(value) for value in counts]
    assert browser.run(f"{counts}.map(flops)") == [flops_words(value) for value in counts]
    factors = [eighth / 8 for eighth in range(8, 1000)]
    assert browser.run(f"{factors}.map(times)") == [times_words(f).replace("x", "×") for f in factors]
    assert browser.run(f"{factors}.map(seconds)") == [seconds_words(value) for value in factors]


def test_a_comparison_sorts_by_click_and_by_keyboard(browser, tmp_path):
    comparison = make_comparison()
    labels = {s.name: s.label for s in comparison.systems}
    rows = comparison.tasks[0].rows
    browser.open(write_report(tmp_path, compared()))
    by_cost = [labels[r.system] for r in sorted(rows, key=lambda r: -r.macs.mean)]
    browser.click(head("systems", 2))
    assert column(browser, "systems", 0) == by_cost
    browser.run(head("systems", 0) + ".focus()")
    for _ in range(2):
        browser.press("Tab")
    browser.press("Enter")
    assert column(browser, "systems", 0) == by_cost[::-1]
    assert browser.run(head("systems", 2) + ".parentElement.getAttribute('aria-sort')") == "ascending"
    assert browser.run("document.querySelectorAll('#systems [aria-sort]').length") == 1
    assert "ascending" in browser.run("document.querySelector('#systems [role=status]').textContent")


def test_what_is_sorted_and_opened_stays_so_whatever_else_is_chosen(browser, tmp_path):
    browser.open(write_report(tmp_path, compared()))
    browser.click(head("systems", 2))
    order = column(browser, "systems", 0)
    details = "document.querySelector('#pareto details')"
    browser.click(details + ".firstElementChild")
    browser.click("document.querySelector('#pareto .legend [data-system=deebert]')")
    slide(browser, "leaving", 1)
    assert browser.run(details + ".open")
    assert column(browser, "systems", 0) == order
    assert browser.run(head("systems", 2) + ".parentElement.getAttribute('aria-sort')") == "descending"


def test_every_share_of_the_bars_answers_at_its_middle(browser, tmp_path):
    browser.open(write_report(tmp_path, compared()))
    names = marks(browser, "shares")
    assert len(names) > 6
    for index, name in enumerate(names):
        browser.move(5, 5)
        browser.move(*browser.middle(MARKS.replace("SECTION", "shares") + f"[{index}]"))
        assert browser.run(TIP).splitlines()[0] == name.partition(":")[0]


def test_the_verdict_tells_what_speaks_against_the_subject(browser, tmp_path):
    comparison = make_comparison()
    task = comparison.tasks[0]
    [order, *others] = task.orders
    below = dataclasses.replace(order, always=False, below=[[3e6, 5e6]])
    [chosen] = [d for d in task.differences if (d.second, d.at) == (order.second, "chosen")]
    worse = dataclasses.replace(chosen, mean=-0.026, low=-0.037, high=-0.016, real=True)
    told = [worse if d is chosen else d for d in task.differences]
    tasks = [dataclasses.replace(task, orders=[below, *others], differences=told), *comparison.tasks[1:]]
    browser.open(write_report(tmp_path, compared(dataclasses.replace(comparison, tasks=tasks))))
    words = browser.run("document.querySelector('#systems p').textContent")
    label = comparison.system(order.second).label
    assert f"Under the chosen policies it is behind, beyond chance, {label} (−2.6 points)" in words
    assert re.search(rf"Its curve lies below that of .*{label} \(at ", words)


def test_a_comparison_hovers_and_arrow_keys_do_the_same(browser, tmp_path):
    task = make_comparison().tasks[0]
    row = task.rows[1]
    dense = task.dense[task.metric].mean
    browser.open(write_report(tmp_path, compared()))
    point = max(row.points, key=lambda p: p.score)
    name = f"DeeBERT style: {point.label}"
    x, y = browser.middle(f"document.querySelector('#pareto .faint[aria-label^=\"{name}:\"]')")
    browser.move(x, y)
    lines = browser.run(TIP).splitlines()
    assert lines[0] == name
    assert lines[1] == f"F1 {100 * point.score:.1f} %, {100 * point.score / dense:.1f} % of dense"
    assert f"{make_comparison().dense_macs / point.macs:.1f}× fewer" in lines[2]

    focus = "document.querySelector('#pareto svg .hit[tabindex=\"0\"]').focus()"
    browser.run(focus)
    assert browser.run(TIP).startswith("COST-EFF")
    browser.press("ArrowDown")
    assert browser.run(TIP).startswith("DeeBERT style")
    by_cost = sorted(row.points, key=lambda p: p.macs)
    for _ in range(30):  # once round its policies, from left to right
        before = browser.run(TIP).splitlines()[0]
        browser.press("ArrowRight")
        after = browser.run(TIP).splitlines()[0]
        assert after.startswith("DeeBERT style: ")
        if before == f"DeeBERT style: {by_cost[0].label}":
            assert after == f"DeeBERT style: {by_cost[1].label}"
            break
    else:
        raise AssertionError("the arrow keys never came to the cheapest policy")
    assert browser.run("document.activeElement.getAttribute('role')") == "img"
    assert browser.run("document.querySelectorAll('#pareto svg .hit[tabindex=\"0\"]').length") == 1
    browser.press("Escape")
    assert browser.run(TIP) is None


def test_a_comparison_switches_systems_and_budgets(browser, tmp_path):
    task = make_comparison().tasks[0]
    browser.open(write_report(tmp_path, compared()))
    button = "document.querySelector('#pareto .legend [data-system=deebert]')"
    assert browser.run(button + ".getAttribute('aria-pressed')") == "true"
    browser.run(button + ".focus()")
    browser.press("Enter")
    assert browser.run(button + ".getAttribute('aria-pressed')") == "false"
    assert browser.run(f"document.activeElement === {button}")
    for section in ("pareto", "layers", "shares"):
        assert not any(m.startswith("DeeBERT") for m in marks(browser, section)), section
    ranking = "[...document.querySelectorAll('#pareto .ranking li')].map(l => l.textContent)"
    assert len(browser.run(ranking)) == len(task.rows) - 1
    browser.click("document.querySelector('#pareto .legend .plain')")
    assert len(browser.run(ranking)) == len(task.rows)

    at = 60
    slide(browser, "pareto", at)
    known = sorted((r.curve.mean[at] for r in task.rows if r.curve.mean[at] is not None), reverse=True)
    said = browser.run("[...document.querySelectorAll('#pareto .ranking .score')].map(s => s.textContent)")
    assert said[: len(known)] == [f"{100 * v:.1f} %" for v in known]
    assert all(s == "too dear" for s in said[len(known) :])


def test_the_frontier_is_the_pareto_frontier(browser, tmp_path):
    """Against the flags of the comparison, which are found another way."""
    task = make_comparison().tasks[0]
    browser.open(write_report(tmp_path, compared()))
    drawn = browser.run("frontier(task().rows).map(([macs, score]) => score)")
    curves = [row.curve for row in task.rows]
    flagged = {p[:2] for c in curves for p in zip(c.macs, c.mean, c.frontier, strict=True) if p[2]}
    assert drawn == pytest.approx([score for _, score in sorted(flagged)], rel=1e-5) and len(drawn) > 3


def test_curves_end_at_the_frame(browser, tmp_path):
    """A system that answers cheap budgets with the constant begins far below the axis."""
    comparison = make_comparison()
    task = comparison.tasks[0]
    curve = task.rows[1].curve
    first = next(i for i, score in enumerate(curve.mean) if score is not None)
    changed = {name: list(getattr(curve, name)) for name in ("mean", "low", "high")}
    for values in changed.values():
        values[first] = 0.0
    row = dataclasses.replace(task.rows[1], curve=dataclasses.replace(curve, **changed))
    rows = [task.rows[0], row, *task.rows[2:]]
    tasks = [dataclasses.replace(task, rows=rows), *comparison.tasks[1:]]
    browser.open(write_report(tmp_path, compared(dataclasses.replace(comparison, tasks=tasks))))
    axis = browser.run(
        "[...document.querySelectorAll('#pareto line.axis')]"
        ".filter(l => l.x1.baseVal.value !== l.x2.baseVal.value).map(l => l.y1.baseVal.value)"
    )
    ends = browser.run(
        "[...document.querySelectorAll('#pareto :is(.curve, .band, .frontier)')].map(path => {"
        "const box = path.getBBox(), { y, height } = path.ownerSVGElement;"
        "const hidden = getComputedStyle(path.ownerSVGElement).overflow === 'hidden';"
        "return [box.y + box.height, hidden ? y.baseVal.value + height.baseVal.value : null]; })"
    )
    assert len(axis) == 1 and len(ends) > 4
    assert max(drawn for drawn, _ in ends) > axis[0] + 100
    assert {shown for _, shown in ends} == set(axis)


def test_light_dark_and_paper(browser, tmp_path):
    page = write_report(tmp_path, compared())
    browser.open(page)
    light = browser.run(PAPER)
    browser.click("document.getElementById('theme')")
    dark = browser.run(PAPER)
    assert light != dark
    assert "light" in browser.run("document.getElementById('theme').getAttribute('aria-label')")
    browser.open(page, dark=True)
    assert browser.run(PAPER) == dark
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run("[...document.querySelectorAll('details')].every(d => d.open)")
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.run(PAPER) == "rgb(255, 255, 255)"
    assert browser.run("getComputedStyle(document.getElementById('nav')).display") == "none"
    browser.call("Emulation.setEmulatedMedia", media="")


def test_touch_finds_the_nearest_mark(browser, tmp_path):
    browser.open(write_report(tmp_path, compared()), 390)
    x, y = browser.middle("document.querySelectorAll('#layers .hit')[2]")
    browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x + 9, "y": y + 4}])
    browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert "layer" in browser.run(TIP)
