"""Names, labels and texts from outside stay text on the page, in pictures, in Markdown and in a card."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from itertools import count
from xml.etree import ElementTree

import pytest
import yaml
from comparison_sample import compared
from hypothesis import assume, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from report_sample import make_report

from prunekit.calibration.card import with_policy_in_force
from prunekit.reports import curve_svg, layer_svg, model_card, score_flops_svg, with_guarantee
from prunekit.reports.escaping import code_block, escape, escape_markup
from prunekit.reports.markdown import render_markdown
from prunekit.reports.page import render_page
from prunekit.text import shown

HOSTILE = [
    "</script><script>alert(1)</script><img src=x onerror='alert(1)'>",
    '" onload="x <!-- ]]> &lt;b&gt; {{data}}',
    "[link](javascript:alert(1)) ![i](http://evil.example/x) <http://evil.example> | a | b",
    "# heading\n---\ntitle: x\n---\n| a | b |\n| - | - |\n```\n~~~~\n    code\n> quote\n- item\n1. item",
    "````` **bold** _em_ ~~gone~~ $x^2$ `code` &amp; &#60; \\",
    "\x1b[2J\x1b]0;T\x07 \x9b31m \u202e\u2066 \u2028 \ufffe \r\t \ud800 \x00",
    "- - -\n===\n=== ***",
    "key: [a, b] # no comment, 'quoted' \"twice\" %TAG !!python/object:x",
]
# Fields that can only be certain words, and mappings whose keys are prunekit's own.
WORDS, OWN_KEYS = {"at", "picked_on"}, {"policy", "guarantee"}
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def renamed(value, rename, own_keys=False):
    """A report with every string in it replaced."""
    if isinstance(value, str):
        return rename(value)
    if isinstance(value, (list, tuple)):
        return type(value)(renamed(item, rename) for item in value)
    if isinstance(value, dict):
        return {
            key if own_keys else rename(key): renamed(item, rename, own_keys) for key, item in value.items()
        }
    if is_dataclass(value):
        return replace(
            value,
            **{
                f.name: renamed(getattr(value, f.name), rename, f.name in OWN_KEYS)
                for f in fields(value)
                if f.name not in WORDS
            },
        )
    return value


def named(before, first):
    """Every string becomes ``first`` and a number of its own."""
    numbers, seen = count(), {}
    return renamed(before, lambda old: seen.setdefault(old, f"{first} {next(numbers)}"))


def guaranteed(report):
    [system] = report.systems
    words = {"words": "shown to be safe", "confidence": 0.95, "max_drop": 0.01, "examples": 300}
    words |= {"source": "examples of x", "policy": {"name": "entropy", "threshold": 0.1}, "saved": 0.5}
    return replace(report, license="mit", systems=[replace(system, guarantee=words)])


REPORTS = {"run": lambda: guaranteed(make_report()), "comparison": lambda: guaranteed(compared())}


def structure(markdown):
    """Kinds of all that a Markdown parser finds, without the words."""
    return [
        (token.type, token.tag, [child.type for child in token.children or ()])
        for token in MARKDOWN.parse(markdown)
    ]


class Elements(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found, self.words = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, [name for name, _ in attributes]))

    def handle_comment(self, data):
        self.found.append(("comment", []))

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(params=REPORTS)
def kind(request):
    return request.param


@pytest.mark.parametrize("text", HOSTILE)
def test_the_page_has_the_elements_of_a_plain_one(kind, text):
    plain, hostile = (named(REPORTS[kind](), words) for words in ("word", text))
    page = render_page(hostile)
    own, other = Elements(page), Elements(render_page(plain))
    assert own.found == other.found
    assert shown(hostile.name, keep="") in "".join(own.words)
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])
    assert data["name"] == shown(hostile.name)
    assert data["label_names"] == [shown(name) for name in hostile.label_names]
    assert list(data["recipe"]) == [shown(key) for key in hostile.recipe]
    assert shown(page) == page


@pytest.mark.parametrize("text", HOSTILE)
def test_pictures_are_whole_and_say_the_words(text):
    report = named(compared(), text)
    comparison = report.comparison
    for picture in (curve_svg(report), score_flops_svg(comparison), layer_svg(comparison)):
        assert shown(picture) == picture
        root = ElementTree.fromstring(picture)
        kinds = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert kinds <= {"svg", "title", "style", "rect", "path", "text", "circle", "clipPath", "g"}
        names = {name for element in root.iter() for name in element.attrib}
        assert not {name for name in names if name.startswith("on") or "href" in name}
    words = {element.text for element in ElementTree.fromstring(layer_svg(comparison)).iter()}
    assert {shown(system.label, keep="") for system in comparison.systems} <= words


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_has_the_structure_of_a_plain_report(kind, text):
    plain, hostile = (named(REPORTS[kind](), words) for words in ("word", text))
    written = render_markdown(hostile)
    assert structure(written) == structure(render_markdown(plain))
    assert shown(written) == written


@pytest.mark.parametrize("text", HOSTILE)
def test_a_card_has_the_structure_of_a_plain_one(text):
    plain, hostile = (named(guaranteed(make_report()), words) for words in ("word", text))
    cards = []
    for report in (plain, hostile):
        words = f"{report.name}: again"
        guarantee = {**report.systems[0].guarantee, "words": words}
        cards.append(with_policy_in_force(with_guarantee(model_card(report), words), guarantee))
    # As huggingface_hub finds it.
    front, body = zip(
        *(re.split(r"\n---(?:\n|$)", card.removeprefix("---"), maxsplit=1) for card in cards), strict=True
    )
    assert structure(body[1]) == structure(body[0])
    read = yaml.safe_load(front[1])
    assert read["license"] == hostile.license
    assert read["metrics"] == hostile.systems[0].evaluation.metrics
    assert read.keys() == yaml.safe_load(front[0]).keys()


SIGNS = [*"\\`*_{}[]<>()#+-.!|~$&:;=\"'/@ \n\t\r", "www.", "http://", "&lt;", "1. ", "```", "<b>"]
pieces = st.lists(
    st.one_of(
        st.sampled_from(SIGNS),
        st.text(st.characters(), max_size=3),
    ),
    max_size=12,
).map("".join)  # fmt: skip


@given(pieces)
def test_markdown_shows_a_text_as_it_is(text):
    wanted = shown(" ".join(text.split()), keep="")
    assume(wanted)
    for before, after in (
        ("", ""),
        ("# ", ""),
        ("> ", ""),
        ("- ", ""),
        ("**", " b**"),
        ("|a|b|\n|-|-|\n| ", " | c |"),
    ):
        written = f"{before}{escape(text)}{after}\n"
        assert structure(written) == structure(f"{before}word{after}\n")
        if not after:
            [words] = [token for token in MARKDOWN.parse(written) if token.type == "inline"]
            assert "".join(child.content for child in words.children) == wanted


@given(pieces)
def test_a_block_of_code_ends_where_it_should(text):
    tokens = MARKDOWN.parse(f"a\n\n{code_block(text, 'sh')}\nb")
    assert [token.type for token in tokens].count("fence") == 1 and len(tokens) == 7
    [block] = [token for token in tokens if token.type == "fence"]
    assert block.info == "sh" and block.content == shown(text) + "\n"


@given(pieces)
def test_markup_shows_a_text_as_it_is(text):
    page = Elements(f'<p title="{escape_markup(text)}">{escape_markup(text)}</p>')
    assert page.found == [("p", ["title"])]
    assert "".join(page.words) == shown(text, keep="")
    element = ElementTree.fromstring(f'<p title="{escape_markup(text)}">{escape_markup(text)}</p>')
    assert (element.text or "") == element.get("title") == shown(text, keep="")
