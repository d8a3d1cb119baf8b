"""What a reader of a comparison has to know: where its runs are not alike, and how they were chosen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..recipes.differences import ABSENT, differences
from ..runs import compared_with
from ..runs.data import differing_splits
from .results import Finished, deciding
from .sharing import prefix_digests

if TYPE_CHECKING:
    from ..reports import RunReport

# Settings that systems of a comparison should have in common, beside those that make each what it is.
_SHARED = ("model.", "data.", "training.")
_SHARED_KEYS = ("exits.reads", "exits.dropout", "evaluate.max_drop")
_SAME_LENGTH = 0.02


def settings_notes(runs: Sequence[Finished], reports: Sequence[RunReport]) -> list[str]:
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
        if _counts_share(report) != _counts_share(others_report):
            ours, theirs = ("a share of the score", "points")[:: 1 if _counts_share(report) else -1]
            words.append(f"evaluate.max_drop counts {ours} instead of {theirs}")
        if words:
            found.setdefault((task, "; ".join(words)), []).append(one.run.label)
    return [
        f"On {task} not all else is alike. {', '.join(labels)}, set against {own[task][0].run.label}: "
        f"{words}."
        for (task, words), labels in found.items()
    ]


def _counts_share(report: RunReport) -> bool:
    """Whether an earlier version chose the policy, which read ``max_drop`` as a share of the score."""
    return report.systems[0].max_drop is not None


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
    found = {k: v for k, v in deciding(recipe).items() if k.startswith(_SHARED) or k in _SHARED_KEYS}
    seed = recipe.seed if recipe.data.seed is None else recipe.data.seed
    return {**found, "data.seed": seed}


def data_notes(runs: Sequence[Finished]) -> list[str]:
    """Which systems name the same data as the first one of their task and seed, and had other examples."""
    first: dict[tuple[str, int], Finished] = {}
    notes = []
    for one in runs:
        own = first.setdefault((one.run.task, one.run.seed), one)
        if splits := differing_splits(own.folder, one.folder):
            notes.append(
                f"{one.run.label} on {one.run.task} with seed {one.run.seed} names the data of "
                f"{own.run.label}, and had other examples ({', '.join(splits)}): they changed in between."
            )
    return notes


def effort_notes(runs: Sequence[Finished], reports: Sequence[RunReport]) -> list[str]:
    """Who was trained longer, how settings were chosen, and what several runs share."""
    notes = _length_notes(runs, reports)
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
    before = _tried_before(runs)
    if single:
        who = "All systems" if len(single) == len(labels) else ", ".join(single)
        unknown = "; what was tried before, to find its learning rates and epochs, is not recorded"
        notes.append(f"{who}: one setting was trained here{'' if before else unknown}.")
    notes += [f"Tried before: {words}" for words in before]
    digests = [digest for one in runs for digest in prefix_digests(one.recipe)]
    if len(set(digests)) < len(digests):
        notes.append(
            "Stages that several runs begin with were trained once; their steps and wall time count in full "
            "for each."
        )
    return notes


def _tried_before(runs: Sequence[Finished]) -> list[str]:
    """What the recipes that compare say of it."""
    compared = [compared_with(one.folder) for one in runs if one.run.subject]
    return list(dict.fromkeys(c["tried_before"] for c in compared if c and c.get("tried_before")))


def _length_notes(runs: Sequence[Finished], reports: Sequence[RunReport]) -> list[str]:
    """Where systems of a task were trained for another number of steps than the first one."""
    first: dict[tuple[str, str], tuple[Finished, int]] = {}
    for one, report in zip(runs, reports, strict=True):
        steps = report.systems[0].steps
        if steps is not None:
            first.setdefault((one.run.task, one.run.system), (one, steps))
    subjects: dict[str, tuple[Finished, int]] = {}
    notes = []
    for (task, _), (one, steps) in first.items():
        subject, theirs = subjects.setdefault(task, (one, steps))
        # Epochs of several stages are rounded to steps one by one.
        if abs(steps - theirs) > _SAME_LENGTH * theirs:
            chosen = _chose_epochs(one) and _chose_epochs(subject)
            words = "each for as long as its grid chose" if chosen else "not the same effort"
            notes.append(
                f"On {task} {one.run.label} was trained for {steps:,} optimizer steps, "
                f"{subject.run.label} for {theirs:,}: {words}."
            )
    return notes


def _chose_epochs(one: Finished) -> bool:
    """Whether its grid tried how long to train."""
    return any(key.endswith("epochs") for candidate in one.run.candidates for key in candidate.settings)


def machine_notes(reports: Sequence[RunReport]) -> list[str]:
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
        words.append(f"{machine['threads']} thread{'' if machine['threads'] == 1 else 's'}")
    if machine.get("accelerator"):
        words.append(str(machine["accelerator"]))
    return ", ".join(words)
