"""From finished runs to the comparison of their systems."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RunError
from ..recipes import ComparedRun, Recipe
from ..recipes.differences import ABSENT, difference_lines, differences, flat
from ..runs import is_done
from .backbones import backbone_words
from .sharing import prefix_digests

if TYPE_CHECKING:
    from ..reports import RunReport
    from ..reports.comparison import Comparison
    from ..reports.comparison.runs import SystemRun

# What may differ between two runs of a system besides the seed.
_FREE = ("name", "description", "output", "compare", "seed", "data.seed")
_FREE_OF_TRAINING = ("training.threads", "training.eval_batch_size", "training.checkpoint_seconds")
_MOST_DIFFERENCES = 5


@dataclass(frozen=True)
class Finished:
    """A run of a comparison that is there.

    Attributes:
        run: what it is a run of.
        recipe: which of the run's candidates it is.
        tried: settings that were trained to find it.
    """

    run: ComparedRun
    recipe: Recipe
    tried: int = 1

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.run.folder


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
                "the last of its stages must be evaluate; if its report was deleted, delete its done.json "
                "and its stages/*-evaluate too, and give its prunekit apply command again",
            )
    reports = [read_report(one.folder / "report") for one in runs]
    comparison = compare(
        [_system_run(one, report) for one, report in zip(runs, reports, strict=True)], runs[0].run.system
    )
    notes = [
        *comparison.notes,
        *_settings_notes(runs, reports),
        *_effort_notes(runs),
        *_machine_notes(runs, reports),
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


def _settings_notes(runs: Sequence[Finished], reports: Sequence[RunReport]) -> list[str]:
    """Where the systems of a task began with another model, learnt from other data, or otherwise."""
    first: dict[tuple[str, str], tuple[Finished, RunReport]] = {}
    for one, report in zip(runs, reports, strict=True):
        first.setdefault((one.run.task, one.run.system), (one, report))
    own: dict[str, tuple[Finished, RunReport]] = {}
    found: dict[tuple[str, str], list[str]] = {}
    for (task, _), (one, report) in first.items():
        other, others_report = own.setdefault(task, (one, report))
        words = _differing_words(one, other)
        if report.task_note != others_report.task_note:
            words.append(f"{report.task_note} instead of {others_report.task_note}")
        if words:
            found.setdefault((task, "; ".join(words)), []).append(one.run.label)
    return [
        f"On {task} not all else is alike. {', '.join(labels)}, set against {own[task][0].run.label}: "
        f"{words}."
        for (task, words), labels in found.items()
    ]


def _differing_words(one: Finished, other: Finished) -> list[str]:
    """``["training.max_length 64 instead of 128"]``, of the settings that systems should share."""
    here, there = _shared_settings(one), _shared_settings(other)
    if one.run.seed != other.run.seed:  # then so may be the draw of the examples
        here.pop("data.seed"), there.pop("data.seed")
    found = differences(there, here)
    return [f"{key} {_word(own)} instead of {_word(others)}" for key, (others, own) in found.items()]


def _word(value: Any) -> str:
    return "none" if value is ABSENT else json.dumps(value)


def _shared_settings(one: Finished) -> dict[str, Any]:
    recipe = one.recipe
    found = {k: v for k, v in _deciding(recipe).items() if k.startswith(("model.", "data.", "training."))}
    seed = recipe.seed if recipe.data.seed is None else recipe.data.seed
    return {**found, "data.seed": seed}


def _effort_notes(runs: Sequence[Finished]) -> list[str]:
    """How settings were chosen, and what several runs share."""
    notes = []
    tried = list(dict.fromkeys((one.run.label, one.run.task, one.tried) for one in runs if one.tried > 1))
    for label, task, count in tried:
        own = next(one for one in runs if (one.run.label, one.run.task) == (label, task))
        kept = next(c for c in own.run.candidates if c.recipe is own.recipe)
        words = ", ".join(f"{key} {value}" for key, value in kept.settings.items())
        notes.append(
            f"{label} on {task}: {count} settings were trained with the first seed; the one whose exits "
            f"have the best mean score on the validation examples was kept: {words}."
        )
    labels = dict.fromkeys(one.run.label for one in runs)
    single = [label for label in labels if all(one.tried == 1 for one in runs if one.run.label == label)]
    if single:
        notes.append(
            f"{'All systems' if len(single) == len(labels) else ', '.join(single)}: one setting tried, no "
            "grid; learning rates and epochs are those of the recipe, set beforehand."
        )
    digests = [digest for one in runs for digest in prefix_digests(one.recipe)]
    if len(set(digests)) < len(digests):
        notes.append(
            "Stages that several runs begin with were trained once; their steps and wall time count in full "
            "for each."
        )
    return notes


def _machine_notes(runs: Sequence[Finished], reports: Sequence[RunReport]) -> list[str]:
    """Wall times compare on one machine only, and results best with one version of everything."""
    notes = []
    machines = {_machine_words(report.machine) for report in reports}
    if len(machines) > 1:
        told = "; ".join(sorted(machines))
        notes.append(f"The runs were made on different machines ({told}): their wall times do not compare.")
    for package in sorted({name for report in reports for name in report.versions}):
        found = {report.versions.get(package, "none") for report in reports}
        if len(found) > 1 and package in ("prunekit", "torch", "transformers"):
            notes.append(
                f"The runs were made with different versions of {package}: {', '.join(sorted(found))}."
            )
    return notes


def _machine_words(machine: dict[str, Any]) -> str:
    words = [str(machine.get("processor") or "unknown processor")]
    if machine.get("threads"):
        words.append(f"{machine['threads']} threads")
    if machine.get("accelerator"):
        words.append(str(machine["accelerator"]))
    return ", ".join(words)


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
        if differing := differences(_deciding(other.recipe), _deciding(one.recipe)):
            raise RunError(
                f"{other.folder} and {one.folder} are by name seeds of one system, and differ in\n"
                + "\n".join(difference_lines(differing, "{!r} and {!r}", _MOST_DIFFERENCES)),
                "rename one of the run folders, so that they are two systems",
            )


def _deciding(recipe: Recipe) -> dict[str, Any]:
    """Dotted key -> value, of what decides a run's result besides its seed."""
    found = flat({key: value for key, value in recipe.resolved().items() if key not in _FREE})
    return {key: value for key, value in found.items() if key not in (*_FREE, *_FREE_OF_TRAINING)}


def write_comparison(runs: Sequence[Finished], folder: Path) -> None:
    """Collect the runs and write the first one's report with the comparison into a folder.

    What was written already, of these very runs, stays as it is.

    Raises:
        RunError: see :func:`collect`; or the folder cannot be written.
    """
    from .. import console
    from ..reports import write_report

    if _is_written(runs, folder):
        return
    report, comparison = collect(runs)
    if console.is_main_process():
        write_report(folder, replace(report, comparison=comparison))


def _is_written(runs: Sequence[Finished], folder: Path) -> bool:
    """Whether the folder's report is of these runs, and later than all of them."""
    from ..reports import read_report

    file = folder / "report.json"
    if not file.is_file():
        return False
    made = file.stat().st_mtime_ns
    if any((one.folder / "done.json").stat().st_mtime_ns > made for one in runs if is_done(one.folder)):
        return False
    comparison = read_report(folder).comparison
    if comparison is None:
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
