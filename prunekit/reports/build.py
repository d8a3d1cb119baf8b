"""Writing a report, and reading one back."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..errors import RunError, first_line
from ..files import write_json, write_text
from .markdown import render_markdown
from .page import render_page
from .schema import RunReport

REPORT_FILES = ("report.json", "report.md", "index.html")


def write_report(folder: str | os.PathLike[str], report: RunReport) -> Path:
    """Write ``report.json``, ``report.md`` and ``index.html`` into a folder; returns the page's path.

    Each file is replaced whole. What is there and does not belong to the report is left alone.

    Raises:
        RunError: the folder cannot be written.
    """
    if not report.systems:
        raise ValueError("a report is about at least one system")
    target = Path(folder)
    page, text = render_page(report), render_markdown(report)
    write_json(target / "report.json", report.to_dict())
    write_text(target / "report.md", text)
    return write_text(target / "index.html", page)


def read_report(path: str | os.PathLike[str]) -> RunReport:
    """Read ``report.json``, or the one in a folder.

    Raises:
        RunError: it is not there, or no report.
    """
    source = Path(path)
    source = source / "report.json" if source.is_dir() else source
    try:
        value = json.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"cannot read {source}: {error.strerror}", "give a run's report folder") from error
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"{source} is no report: {first_line(error)}", "apply the recipe again: it is written anew"
        ) from error
    return RunReport.from_dict(value, str(source))
