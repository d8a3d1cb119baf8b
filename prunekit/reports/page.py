"""The HTML page: one file, no other resources, no network."""

from __future__ import annotations

import html
import json
import re
from importlib.resources import files

from .schema import RunReport
from .words import lead_sentence, summary_sentence

MAX_BYTES = 2_000_000


def render_page(report: RunReport) -> str:
    """The report as one self-contained HTML page.

    Everything that comes from outside (names, texts, recipe) is escaped; the figures are drawn in the
    browser from the report's JSON, which the page carries.
    """
    assets = files("prunekit.reports") / "assets"

    def asset(name: str) -> str:
        return (assets / name).read_text(encoding="utf-8")

    # In a script element only "</" and "<!--" could end the data; no "<" at all is simplest.
    data = json.dumps(report.to_dict(), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    values = {
        "title": html.escape(f"{report.name}: {summary_sentence(report)}"),
        "eyebrow": html.escape(f"prunekit report · {report.name} · {report.task} · seed {report.seed}"),
        "summary": html.escape(summary_sentence(report)),
        "lead": html.escape(lead_sentence(report)),
        "note": html.escape(report.task_note),
        "note_hidden": "" if report.task_note else "hidden",
        "footer": html.escape(
            f"Written by prunekit {report.versions.get('prunekit', '')} on {report.created}. "
            "This page works offline; report.json beside it holds every figure."
        ),
        "style": asset("report.css"),
        "script": asset("charts.js") + "\n" + asset("report.js"),
        "data": data,
    }
    # One pass, so that nothing inside a value is taken for a placeholder.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], asset("report.html"))
