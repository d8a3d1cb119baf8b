"""The page's text: nothing outside, everything escaped, small, colours that stay apart. No browser needed."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from comparison_sample import compared, make_comparison, twice
from report_sample import EVIL, evil, make_report

from prunekit.reports.page import MAX_BYTES, SCRIPTS, render_page
from prunekit.reports.words import compared_lead, compared_sentence
from prunekit.text import shown


def data_of(page):
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1]
    )


@pytest.mark.parametrize("make", [make_report, compared], ids=["run", "comparison"])
def test_page_asks_for_nothing_outside(make):
    page = render_page(make())
    links = []

    class Links(HTMLParser):
        def handle_starttag(self, tag, attributes):
            links.extend(v for k, v in attributes if k in ("src", "href", "srcset", "action", "data"))

    Links().feed(page)
    assert links == ["#main"]
    code = re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.DOTALL)
    assert re.findall(r"https?://[^\s\"']+", code) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"@import|url\(|fetch\(|XMLHttp|\beval\(|Function\(|innerHTML|document\.write", code)
    assert "{{" not in code


def test_page_escapes_what_users_write():
    report = evil(make_report())
    page = render_page(report)
    assert page.count("<script") == 2 and page.count("</script>") == 2
    assert html.escape(shown(EVIL)) in page
    assert data_of(page)["task"] == shown(EVIL)


def test_page_of_a_comparison_escapes_labels_and_notes():
    comparison = make_comparison()
    systems = [dataclasses.replace(s, label=EVIL, backbone=EVIL) for s in comparison.systems]
    page = render_page(
        compared(dataclasses.replace(comparison, systems=systems, notes=[EVIL], dense_name=EVIL))
    )
    assert page.count("<script") == 2 and page.count("</script>") == 2
    assert data_of(page)["comparison"]["systems"][0]["label"] == shown(EVIL)


def test_page_carries_the_figures_and_not_what_no_figure_shows():
    report = compared()
    data = data_of(render_page(report))
    own = report.comparison.tasks[1].rows[0]
    found = data["comparison"]["tasks"][1]["rows"][0]
    assert found["area"]["mean"] == pytest.approx(own.area.mean, rel=1e-5)
    assert found["curve"]["macs"] == pytest.approx(own.curve.macs, rel=1e-5)
    assert found["exit_macs"] == own.exit_macs
    assert data["systems"][0]["validation"] is None and report.systems[0].validation is not None


def test_page_of_a_large_comparison_is_small():
    """Twelve systems, two tasks, three seeds: more than nine systems, two tasks and five seeds."""
    assert len(render_page(compared(twice(make_comparison()))).encode()) < MAX_BYTES / 3


def test_headline_of_a_comparison_is_of_its_subject():
    comparison = make_comparison()
    name = comparison.subject
    said = [float(x) for x in re.findall(r"[\d.]+(?=x| %)", compared_sentence(comparison))]
    expected = [comparison.systems[0].parameters_fewer, comparison.speedup(name), 100 * comparison.kept(name)]
    assert said == [round(x, 1) for x in expected]
    lead = compared_lead(comparison)
    assert all(s.label in lead for s in comparison.systems) and "3 seeds" in lead
    page = render_page(compared())
    assert f'<span class="number">{said[0]}×</span> fewer parameters' in page
    assert f"<title>costeff-demo: {html.escape(compared_sentence(comparison))}</title>" in page


def test_scripts_are_read_at_one_sitting():
    from importlib.resources import files

    for name in SCRIPTS:
        text = (files("prunekit.reports") / "assets" / name).read_text()
        assert text.startswith(("//", '"use strict"')), name
        assert len(text.splitlines()) < 200, name


# Colour vision: linear sRGB matrices for full protanopia, deuteranopia, tritanopia
# (Machado, Oliveira and Fernandes, 2009), and OKLab (Ottosson, 2020) for how far colours look apart.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
CONES = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
LAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]


def linear(colour):
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(a, b):
    light, dark = sorted((linear(c) @ [0.2126, 0.7152, 0.0722] for c in (a, b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_stay_apart_for_every_reader(theme):
    from importlib.resources import files

    css = (files("prunekit.reports") / "assets" / f"{theme}.css").read_text()
    named = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", css))
    series = [named[f"s{n}"] for n in range(1, 9)]
    assert all(contrast(c, named["card"]) >= 3 for c in series)
    for words in ("ink", "soft", "faint"):
        assert contrast(named[words], named["card"]) >= 4.5 and contrast(named[words], named["page"]) >= 4.5
    for vision, matrix in VISIONS.items():
        seen = np.clip(np.array([linear(c) for c in series]) @ np.array(matrix).T, 0, 1)
        lab = np.cbrt(seen @ np.array(CONES).T) @ np.array(LAB).T
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=2)[np.triu_indices(8, 1)]
        assert apart.min() > 0.1, vision
