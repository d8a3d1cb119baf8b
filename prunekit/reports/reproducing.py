"""What to type for a report to come out again."""

from __future__ import annotations

import shlex

from .comparison.schema import Comparison
from .schema import RunReport


def commands(report: RunReport) -> list[tuple[str, str]]:
    """Each command, and words before it; none where the report does not know its own.

    A report of several runs knows the first one's command and the folders of the others.
    """
    if not report.command:
        return []
    comparison = report.comparison
    runs = _own_runs(comparison) if comparison is not None else []
    later = [("Then, to be compared with more:", command) for command in report.later_commands]
    if comparison is None or len(runs) < 2:
        return [("", report.command), *later]
    folders = shlex.join(runs)
    return [
        (f"The first of {len(runs)} runs, {runs[0]}; {_others(comparison, runs)}:", report.command),
        *later,
        ("Then the comparison of them all:", f"prunekit compare {folders} --output comparison"),
    ]


def _own_runs(comparison: Comparison) -> list[str]:
    """The runs that have a command of their own: not those within one, trained for its comparison."""
    runs = list(dict.fromkeys(run for system in comparison.systems for run in system.runs if run))
    return [run for run in runs if not any(run.startswith(f"{other}/") for other in runs)]


def _others(comparison: Comparison, runs: list[str]) -> str:
    seeds = comparison.seeds
    subject = comparison.system(comparison.subject)
    if len(comparison.tasks) == 1 and len(seeds) > 1 and set(runs) <= set(subject.runs):
        return f"and so for every seed ({', '.join(map(str, seeds))}), with a name of its own"
    return "and so for every other, with its own name and settings"
