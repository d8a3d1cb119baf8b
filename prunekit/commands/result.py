"""What a finished run shows."""

from __future__ import annotations

from pathlib import Path

from .. import console


def show_result(folder: Path) -> None:
    """Print a finished run's result table, and where its model and its report are."""
    from ..reports import read_report, summary_sentence
    from ..reports.markdown import result_rows

    out = console.out()
    report_folder = folder / "report"
    if (report_folder / "report.json").is_file():
        report = read_report(report_folder)
        header, rows = result_rows(report)
        table = console.table(f"{report.name} on {report.task}", *header)
        for row in rows:
            table.add_row(*map(str, row))
        out.print(table)
        out.print(summary_sentence(report), style="bold", markup=False, soft_wrap=True)
    for name, place in (("model", folder / "model"), ("report", report_folder / "index.html")):
        if place.exists():
            out.print(f"{name:<7} {place}", markup=False, soft_wrap=True)
    out.print(f"{'run':<7} {folder}", markup=False, soft_wrap=True)
