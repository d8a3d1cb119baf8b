"""A report as it can be published: without the texts of examples and the folders of the machine.

    python tests/benchmarks/publish_report.py REPORT_FOLDER docs/results/NAME \
        --replace /home/me/runs=runs --replace /home/me/models/minilm=MODEL

Writes the page, ``report.md`` and ``report.json`` anew. Fails where a place on this machine is left.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prunekit.reports import read_report, write_report
from prunekit.reports.schema import RunReport

MAX_PAGE = 2_000_000
# Two folders and more, from the root on.
ABSOLUTE = re.compile(r"(?<![\w.:/])/[\w.+-]+/[\w./+-]*")


def publishable(report: dict[str, Any], replacements: list[tuple[str, str]]) -> dict[str, Any]:
    """The report's values without texts of examples, paths replaced.

    Raises:
        SystemExit: naming the absolute paths that nothing replaces.
    """
    for system in report["systems"]:
        for evaluation in (system["evaluation"], system["validation"]):
            if evaluation:
                evaluation["early_errors"] = []
    left: set[str] = set()

    def replaced(text: str) -> str:
        for old, new in replacements:
            text = text.replace(old, new)
        left.update(ABSOLUTE.findall(text))
        return text

    value: dict[str, Any] = _over_strings(report, replaced)
    if left:
        raise SystemExit("these places are left, give --replace for them:\n" + "\n".join(sorted(left)))
    return value


def _over_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _over_strings(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [_over_strings(inner, change) for inner in value]
    return value


def main() -> None:
    """Parse and do."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path, help="the folder report.json is in")
    parser.add_argument("target", type=Path, help="a folder")
    parser.add_argument("--replace", action="append", default=[], metavar="OLD=NEW")
    given = parser.parse_args()
    pairs = [tuple(pair.split("=", 1)) for pair in given.replace]
    # The longest first, so that a folder inside another one is found.
    pairs.sort(key=lambda pair: -len(pair[0]))
    value = publishable(read_report(given.report).to_dict(), pairs)
    page = write_report(given.target, RunReport.from_dict(value))
    size = page.stat().st_size
    print(f"{page}: {size:,} bytes")
    if size > MAX_PAGE:
        raise SystemExit(f"larger than {MAX_PAGE:,} bytes")


if __name__ == "__main__":
    main()
