"""What a finished run shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .. import console
from ..errors import RunError

if TYPE_CHECKING:
    from ..reports import RunReport
    from ..reports.comparison import ComparedTask, Comparison, Difference, Spread


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
        if report.comparison is not None:
            print_comparison(report.comparison)
    for name, place in (("model", folder / "model"), ("report", report_folder / "index.html")):
        if place.exists():
            out.print(f"{name:<7} {place}", markup=False, soft_wrap=True)
    out.print(f"{'run':<7} {folder}", markup=False, soft_wrap=True)


def show_comparison(folder: Path) -> None:
    """Print the comparison of a report in a folder, and where the page is."""
    from ..reports import read_report

    report: RunReport = read_report(folder)
    if report.comparison is None:
        raise RunError(
            f"the report in {folder} holds no comparison", "give several runs, or one with compare"
        )
    print_comparison(report.comparison)
    console.out().print(f"{'report':<7} {folder / 'index.html'}", markup=False, soft_wrap=True)


def print_comparison(comparison: Comparison) -> None:
    """One table of all systems, a column of scores for each task; then which differences are real."""
    out = console.out()
    tasks = [f"{task.task} {task.metric}" for task in comparison.tasks]
    several = [f"{task.task}: " if len(comparison.tasks) > 1 else "" for task in comparison.tasks]
    columns = ["parameters", "fewer", "steps", "tried"]
    for score, at in zip(tasks, several, strict=True):
        columns += [score, f"{at}kept", f"{at}fewer FLOPs", f"{at}area"]
    table = console.table(
        "Comparison, each with the exit policy chosen on its validation examples",
        "system",
        *columns,
        caption="area: under the score-FLOPs curve, as a mean score; fewer: than the dense model; "
        "\u00b1: standard deviation over seeds",
    )
    dense = [_spread(task.dense[task.metric], 100) if task.dense else "" for task in comparison.tasks]
    table.add_row(
        comparison.dense_name, f"{comparison.dense_parameters:,}", "1.0x", "", "",
        *(cell for score in dense for cell in (score, "100.0 %", "1.0x", "")),
    )  # fmt: skip
    for system in comparison.systems:
        steps = "" if system.steps is None else f"{system.steps.mean:,.0f}"
        cells = [f"{system.parameters:,}", f"{system.parameters_fewer:.1f}x", steps, str(system.tried)]
        for task in comparison.tasks:
            cells += _task_cells(task, system.name)
        table.add_row(system.label, *cells)
    out.print(table)
    labels = {system.name: system.label for system in comparison.systems}
    for compared in comparison.tasks:
        for difference in compared.differences:
            if difference.at == "area":
                out.print(_difference_words(compared.task, difference, labels), markup=False, soft_wrap=True)


def _difference_words(task: str, difference: Difference, labels: dict[str, str]) -> str:
    """Whether one system's area is above another's, and by how much."""
    first, second = labels[difference.first], labels[difference.second]
    interval = f"95 %: {100 * difference.low:+.1f} to {100 * difference.high:+.1f} points"
    if not difference.real:
        return f"{task}: the areas of {first} and {second} cannot be told apart ({interval})"
    better = "above" if difference.mean > 0 else "below"
    points = f"{100 * abs(difference.mean):.1f} points"
    return f"{task}: the area of {first} is {points} {better} that of {second} ({interval})"


def _task_cells(task: ComparedTask, system: str) -> list[str]:
    row = next((row for row in task.rows if row.system == system), None)
    if row is None:
        return ["", "", "", ""]
    kept = "" if row.kept is None else f"{100 * row.kept.mean:.1f} %"
    return [_spread(row.scores[task.metric], 100), kept, f"{row.speedup.mean:.1f}x", _spread(row.area, 100)]


def _spread(value: Spread, scale: float) -> str:
    spread = "" if value.std is None else f" \u00b1 {scale * value.std:.1f}"
    return f"{scale * value.mean:.1f}{spread}"
