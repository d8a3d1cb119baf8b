"""From finished runs to the comparison of their systems."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RunError
from ..files import remove_leftovers
from ..recipes import ComparedRun
from ..recipes.differences import difference_lines, differences
from ..runs import compared_with, info_of, is_done, record_changed
from .backbones import backbone_words
from .notes import data_notes, effort_notes, machine_notes, settings_notes
from .results import Finished, deciding
from .sharing import prefix_digests

if TYPE_CHECKING:
    from ..reports import RunReport
    from ..reports.comparison import Comparison
    from ..reports.comparison.runs import SystemRun

_MOST_DIFFERENCES = 5


def collect(runs: Sequence[Finished]) -> tuple[RunReport, Comparison]:
    """The first run's report and the comparison of all runs, about the first run's system.

    Raises:
        RunError: a run that is not finished, or runs that cannot be compared.
    """
    from ..reports import read_report
    from ..reports.comparison.comparing import compare

    for one in runs:
        if not is_done(one.folder):
            raise RunError(f"the run {one.folder} is not finished", "give its prunekit apply command again")
        if not (one.folder / "report" / "report.json").is_file():
            raise RunError(
                f"the run {one.folder} has no report",
                "the last of its stages must be evaluate; if its report was deleted, give its prunekit apply "
                "command again, which writes it anew",
            )
    reports = [read_report(one.folder / "report") for one in runs]
    comparison = compare(
        [_system_run(one, report) for one, report in zip(runs, reports, strict=True)], runs[0].run.system
    )
    notes = [
        *comparison.notes,
        *settings_notes(runs, reports),
        *data_notes(runs),
        *effort_notes(runs, reports),
        *machine_notes(reports),
    ]
    return reports[0], replace(comparison, notes=notes)


def _system_run(one: Finished, report: RunReport) -> SystemRun:
    from ..reports.comparison.runs import SystemRun
    from ..stages.outputs import outputs_of

    return SystemRun(
        system=one.run.system,
        label=one.run.label,
        task=one.run.task,
        seed=one.run.seed,
        report=report.systems[0],
        test=outputs_of(one.folder, "test"),
        validation=outputs_of(one.folder, "validation"),
        dense=report.dense,
        backbone=backbone_words(one.recipe),
        tried=one.tried,
        run=str(one.folder),
        note=report.task_note,
        settings=one.recipe.resolved(),
    )


def same_systems(groups: Sequence[Sequence[Finished]]) -> list[Finished]:
    """The runs of several recipes' comparisons as one.

    Runs named alike but for a task or a seed at the end of the name are of one system.

    Raises:
        RunError: two different runs of one system, task and seed, or a system whose settings differ from
            seed to seed.
    """
    if len(groups) == 1:
        return list(groups[0])
    merged = _merged(groups, [group[0].run for group in groups])
    _check_settings(merged)
    return merged


def check_systems(groups: Sequence[Sequence[ComparedRun]]) -> None:
    """What :func:`same_systems` would refuse of runs that no grid chooses, before they are trained.

    Raises:
        RunError: two different runs of one system, task and seed.
    """
    if len(groups) == 1:
        return
    settled = [
        [Finished(run, run.candidates[0].recipe, 1) for run in runs if len(run.candidates) == 1]
        for runs in groups
    ]
    _merged(settled, [runs[0] for runs in groups])


def _merged(groups: Sequence[Sequence[Finished]], owns: Sequence[ComparedRun]) -> list[Finished]:
    """All runs of the groups, each once; ``owns`` are the recipes' own runs."""
    merged: dict[tuple[str, str, int], Finished] = {}
    names = _common_names(owns)
    for group, (stem, label) in zip(groups, names, strict=True):
        for one in group:
            named = replace(one.run, system=stem, label=label) if one.run.subject else one.run
            renamed = replace(one, run=named)
            key = (renamed.run.system, renamed.run.task, renamed.run.seed)
            there = merged.setdefault(key, renamed)
            if there is not renamed and prefix_digests(there.recipe) != prefix_digests(renamed.recipe):
                raise RunError(
                    f"{there.folder} and {renamed.folder} are both {', '.join(map(str, key))}, and differ",
                    "compare one of them, give the systems other names, or leave out what the recipes "
                    "themselves compare with: compare=null",
                )
    return list(merged.values())


def _common_names(owns: Sequence[ComparedRun]) -> list[tuple[str, str]]:
    """System and label of the recipes' own runs: the name's stem, so that seeds of one are found together.

    A label is its own where no other system of them bears it.
    """
    stems = [_stem(own.system, own.task, own.seed) for own in owns]
    labels = [stem if own.label == own.system else own.label for own, stem in zip(owns, stems, strict=True)]
    bearers: dict[str, set[str]] = {}
    for stem, label in zip(stems, labels, strict=True):
        bearers.setdefault(label, set()).add(stem)
    return [
        (stem, label if len(bearers[label]) == 1 else stem) for stem, label in zip(stems, labels, strict=True)
    ]


def _stem(name: str, task: str, seed: int) -> str:
    """A run's name without the task and the seed at its end, each taken off once."""
    of_task, of_seed = rf"[-_.]{re.escape(task)}", rf"[-_.](?:s|seed)?[-_.]?{seed}"
    return re.sub(rf"(?:{of_task}{of_seed}|{of_seed}{of_task}|{of_task}|{of_seed})$", "", name) or name


def _check_settings(runs: Sequence[Finished]) -> None:
    """A system has the same settings with every seed of a task."""
    first: dict[tuple[str, str], Finished] = {}
    for one in runs:
        other = first.setdefault((one.run.system, one.run.task), one)
        if differing := differences(deciding(other.recipe), deciding(one.recipe)):
            raise RunError(
                f"{other.folder} and {one.folder} are by name seeds of one system, and differ in\n"
                + "\n".join(difference_lines(differing, "{!r} and {!r}", _MOST_DIFFERENCES)),
                "rename one of the run folders, so that they are two systems",
            )


def write_comparison(runs: Sequence[Finished], folder: Path) -> None:
    """Collect the runs and write the first one's report with the comparison into a folder.

    What was written already, of these very runs, stays as it is.

    Raises:
        RunError: see :func:`collect`; or the folder cannot be written.
    """
    from .. import console
    from ..reports import REPORT_FILES, write_report

    if _is_written(runs, folder):
        return
    report, comparison = collect(runs)
    if console.is_main_process():
        # What the run was compared with since it was made.
        subject = runs[0].folder
        report = replace(
            report,
            comparison=comparison,
            recipe=report.recipe | {"compare": compared_with(subject)},
            later_commands=info_of(subject).get("later_commands", []),
        )
        remove_leftovers(folder, REPORT_FILES)
        write_report(folder, report)
        record_changed(folder)


def _is_written(runs: Sequence[Finished], folder: Path) -> bool:
    """Whether the folder's report is of these runs, and later than all of them."""
    from ..reports import REPORT_FILES, read_report

    file = folder / "report.json"
    if not all((folder / name).is_file() for name in REPORT_FILES):
        return False
    made = file.stat().st_mtime_ns
    if any((one.folder / "done.json").stat().st_mtime_ns > made for one in runs if is_done(one.folder)):
        return False
    try:
        report = read_report(folder)
    except RunError:
        return False  # damaged, or of another version
    comparison = report.comparison
    if comparison is None or report.recipe.get("compare") != compared_with(runs[0].folder):
        return False
    # The subject, systems, and seeds come in the order in which they were given.
    given: dict[str, list[Finished]] = {}
    for one in runs:
        given.setdefault(one.run.system, []).append(one)
    there = [(system.name, system.label, system.tried, system.runs) for system in comparison.systems]
    return there == [
        (name, own[0].run.label, max(one.tried for one in own), [str(one.folder) for one in own])
        for name, own in given.items()
    ]
