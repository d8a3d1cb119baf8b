"""What a finished run shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .. import console
from ..errors import RunError

if TYPE_CHECKING:
    from ..reports import RunReport
    from ..reports.comparison import Comparison


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
        console.say(summary_sentence(report), style="bold")
        if report.comparison is not None:
            print_comparison(report.comparison)
    for name, place in (("model", folder / "model"), ("report", report_folder / "index.html")):
        if place.exists():
            console.say(f"{name:<7} {place}")
    console.say(f"{'run':<7} {folder}")


def show_comparison(folder: Path) -> None:
    """Print the comparison of a report in a folder, and where the page is."""
    from ..reports import read_report

    report: RunReport = read_report(folder)
    if report.comparison is None:
        raise RunError(
            f"the report in {folder} holds no comparison", "give several runs, or one with compare"
        )
    print_comparison(report.comparison)
    console.say(f"{'report':<7} {folder / 'index.html'}")


def print_comparison(comparison: Comparison) -> None:
    """The table of all systems, then, task by task, whether the subject is better than each of the others."""
    from ..reports.comparison.tables import comparison_rows, difference_rows
    from ..reports.words import compared_sentence

    out = console.out()
    header, rows = comparison_rows(comparison)
    table = console.table(
        "Comparison, each with the exit policy chosen on its validation examples",
        *header,
        caption="fewer: than the dense model; kept: of its score; ±: standard deviation over seeds; "
        "short examples: fewer tokens than the median, in brackets the difference to all examples",
    )
    for row in rows:
        table.add_row(*map(str, row))
    out.print(table)
    for task in comparison.tasks:
        if task.orders:
            header, rows = difference_rows(comparison, task)
            table = console.table(
                f"{task.task}: points of {task.metric} [95 % interval]",
                *header,
                caption="area: mean score over all budgets, see the report; paired bootstrap over "
                + ("examples" if len(task.seeds) == 1 else "examples and seeds"),
            )
            for row in rows:
                table.add_row(*map(str, row))
            out.print(table)
    console.say(compared_sentence(comparison), style="bold")
