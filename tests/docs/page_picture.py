"""A picture of a report's page for the docs.

``python tests/docs/page_picture.py RUN/report docs/images/comparison.png``. Needs Chromium. Takes the figure
of score against FLOPs unless ``--section`` names another part of the page, by the id of its card; several are
taken together.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "reports"))
from browser import Browser

MAX_BYTES = 200_000


def take(page: Path, target: Path, sections: list[str], width: int, dark: bool) -> int:
    """Write the picture; returns its size in bytes."""
    with Browser() as browser:
        browser.open(page, width, dark=dark)
        found = browser.run("[...document.querySelectorAll('main section[id]')].map(s => s.id)")
        missing = [name for name in sections if name not in found]
        if missing:
            raise SystemExit(f"no section {', '.join(missing)}; there are {', '.join(found)}")
        # One place around them all, so that the picture has their gaps and the page's colour.
        parts = ", ".join(f"document.getElementById({name!r})" for name in sections)
        browser.run(
            "(parts => { const frame = document.createElement('div'); frame.id = 'framed';"
            "frame.style.cssText = 'display: grid; gap: 16px; grid-column: 1 / -1';"
            f"parts[0].before(frame); frame.append(...parts); }})([{parts}])"
        )
        browser.run("document.getElementById('nav').style.display = 'none'")
        browser.middle("document.getElementById('framed')")
        picture = browser.picture("document.getElementById('framed')", margin=12)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(picture)
    return len(picture)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path, help="index.html, or the folder it is in")
    parser.add_argument("target", type=Path, help="a .png")
    parser.add_argument("--section", action="append", help="id of a card; default: pareto, or curve")
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--dark", action="store_true")
    given = parser.parse_args()
    page = (given.report / "index.html" if given.report.is_dir() else given.report).resolve()
    default = (
        "pareto" if 'id: "pareto"' in page.read_text() and '"comparison":{' in page.read_text() else "curve"
    )
    size = take(page, given.target, given.section or [default], given.width, given.dark)
    print(f"{given.target}: {size:,} bytes")
    if size > MAX_BYTES:
        raise SystemExit(f"larger than {MAX_BYTES:,} bytes: take fewer sections, or a smaller --width")


if __name__ == "__main__":
    main()
