"""The HTML page: one file, no other resources, no network."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

from ..text import shown
from .escaping import escape_markup
from .reproducing import commands
from .schema import RunReport
from .words import (
    compared_lead,
    compared_sentence,
    date_words,
    lead_sentence,
    note_words,
    summary_sentence,
)

MAX_BYTES = 2_000_000

# In the order they are joined: each stands on those before it.
SCRIPTS = (
    "dom.js",
    "words.js",
    "axes.js",
    "plots.js",
    "table.js",
    "data.js",
    "verdict.js",
    "comparing.js",
    "pareto.js",
    "made.js",
    "subject.js",
    "exits.js",
    "reproduce.js",
    "page.js",
)


def render_page(report: RunReport) -> str:
    """The report as one self-contained HTML page.

    Everything that comes from outside (names, texts, recipe) is escaped; the figures are drawn in the
    browser from the report's JSON, which the page carries.
    """
    if report.comparison is None:
        summary, lead = summary_sentence(report), lead_sentence(report)
    else:
        summary, lead = compared_sentence(report.comparison), compared_lead(report.comparison)
    values = {
        "title": escape_markup(f"{report.name}: {summary}"),
        "eyebrow": escape_markup(" · ".join(("prunekit report", report.name, *_scope(report)))),
        "summary": _headline(summary),
        "lead": escape_markup(lead),
        "note": escape_markup(note_words(report.task_note)),
        "note_hidden": "" if report.task_note else "hidden",
        "footer": escape_markup(
            f"Written by prunekit {report.versions.get('prunekit', '')} on {date_words(report.created)}. "
            "This page works offline; report.json beside it holds every figure."
        ),
        "style": _filled(_asset("report.css"), {"light": _asset("light.css"), "dark": _asset("dark.css")}),
        "script": "\n".join(_asset(name) for name in SCRIPTS),
        "data": _data(report),
    }
    return _filled(_asset("report.html"), values)


def _scope(report: RunReport) -> tuple[str, str]:
    """The task and the seed; all of them where runs are compared."""
    if report.comparison is None:
        return report.task, f"seed {report.seed}"
    seeds = report.comparison.seeds
    tasks = ", ".join(task.task for task in report.comparison.tasks)
    return tasks, f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def _asset(name: str) -> str:
    return (files("prunekit.reports") / "assets" / name).read_text(encoding="utf-8")


def _filled(template: str, values: dict[str, str]) -> str:
    """In one pass, so that nothing inside a value is taken for a placeholder."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def _headline(sentence: str) -> str:
    """The sentence escaped, its figures marked: ``8.1x``, ``97.2 %``."""
    units = {"x": "×", " %": "&nbsp;%"}
    return re.sub(
        r"(?<![\w.&#])(\d+(?:\.\d+)?)(x| %)(?!\w)",
        lambda match: f'<span class="number">{match[1]}{units[match[2]]}</span>',
        escape_markup(sentence),
    )


def _shown(value: Any) -> Any:
    """Plain values, the control characters of all their strings as escapes."""
    if isinstance(value, dict):
        return {shown(key): _shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    return shown(value) if isinstance(value, str) else value


def _data(report: RunReport) -> str:
    """What the page draws, as JSON that may stand in a script element.

    Left out is what no figure shows: the examples that policies were chosen on. Numbers stay as they are:
    rounded here and once more where they are shown, they could come out other than in Markdown.
    """
    value = report.to_dict()
    for system in value["systems"]:
        system["validation"] = None
    for task in value["comparison"]["tasks"] if report.comparison is not None else []:
        task["note"] = note_words(task["note"])
    value["commands"] = [{"words": words, "command": command} for words, command in commands(report)]
    text = json.dumps(_shown(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # In a script element only "</" and "<!--" could end the data; no "<" at all is simplest.
    return text.replace("<", "\\u003c")
