"""From runs to a comparison: checked, put in order, averaged over seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from statistics import fmean
from typing import Literal

from ...errors import RunError
from ..words import percent_words
from .runs import SystemRun
from .schema import ComparedSystem, Comparison, Spread
from .tasks import compare_task

RESAMPLES = 10_000


def compare(
    runs: Iterable[SystemRun],
    subject: str | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Set systems against each other.

    Args:
        runs: of every system, task and seed. A system may lack tasks or seeds; the notes tell.
        subject: the system the comparison is about; default: the first run's. It comes first, the others in
            the order in which they are first seen, tasks likewise.
        resamples: of the bootstrap.
        seed: of the bootstrap: the same runs give the same figures.

    Raises:
        RunError: runs that cannot be compared: other examples, another sequence length, other metrics, a
            second run of the same system, task and seed.
    """
    runs = list(runs)
    if not runs:
        raise RunError("there are no runs to compare", "give run folders, or a recipe with compare")
    subject = runs[0].system if subject is None else subject
    names = list(dict.fromkeys([subject, *(run.system for run in runs)]))
    runs.sort(key=lambda run: names.index(run.system))
    if runs[0].system != subject:
        raise RunError(f"no run is of {subject!r}", f"systems with runs: {', '.join(names[1:])}")
    _check(runs)
    tasks = list(dict.fromkeys(run.task for run in runs))
    dense = runs[0].dense
    return Comparison(
        dense_name=dense.name,
        dense_parameters=dense.parameters,
        dense_macs=dense.macs,
        subject=subject,
        systems=[_system(list(own)) for _, own in groupby(runs, key=lambda run: run.system)],
        tasks=[compare_task([r for r in runs if r.task == task], subject, resamples, seed) for task in tasks],
        sequence_length=runs[0].report.evaluation.sequence_length,
        resamples=resamples,
        notes=[*_notes(runs, names, tasks), *_dense_notes(runs, subject)],
    )


def _system(runs: Sequence[SystemRun]) -> ComparedSystem:
    """Sizes are means over the runs: a budget over the whole model may cut another way with each seed."""
    first = runs[0]

    def mean(of: Callable[[SystemRun], float]) -> float:
        return fmean(of(run) for run in runs)

    return ComparedSystem(
        name=first.system,
        label=first.label,
        backbone=first.backbone,
        parameters=round(mean(lambda r: r.report.figures.parameters)),
        parameters_fewer=mean(lambda r: r.dense.parameters) / mean(lambda r: r.report.figures.parameters),
        macs=round(mean(lambda r: r.report.figures.macs)),
        macs_fewer=mean(lambda r: r.dense.macs) / mean(lambda r: r.report.figures.macs),
        exits=[int(layer) for layer in first.report.evaluation.exit_layers],
        steps=_recorded(run.report.steps if run.steps is None else run.steps for run in runs),
        seconds=_recorded(run.report.seconds if run.seconds is None else run.seconds for run in runs),
        tried=max(run.tried for run in runs),
        runs=[run.run for run in runs],
        heads=_by_layer(runs, "heads"),
        neurons=_by_layer(runs, "neurons"),
        settings=first.settings,
    )


def _by_layer(runs: Sequence[SystemRun], what: Literal["heads", "neurons"]) -> list[float]:
    found = [run.report.figures.layers for run in runs]
    if len({len(layers) for layers in found}) > 1:
        return []
    return [fmean(getattr(layer, what) for layer in same) for same in zip(*found, strict=True)]


def _recorded(values: Iterable[float | None]) -> Spread | None:
    found = list(values)
    return None if None in found else Spread.of(v for v in found if v is not None)


def _check(runs: Sequence[SystemRun]) -> None:
    """Refuse what cannot stand in one table."""
    seen: dict[tuple[str, str, int], SystemRun] = {}
    first_of: dict[str, SystemRun] = {}
    length = runs[0].report.evaluation.sequence_length
    for run in runs:
        key = (run.system, run.task, run.seed)
        if key in seen:
            raise RunError(
                f"{_name(seen[key])} and {_name(run)} are the same system, task and seed",
                "give one of them, or call the systems differently",
            )
        seen[key] = run
        first = first_of.setdefault(run.task, run)
        evaluation = run.report.evaluation
        if evaluation.sequence_length != length:
            raise RunError(
                f"{_name(run)} counts FLOPs at {evaluation.sequence_length} tokens, "
                f"{_name(runs[0])} at {length}",
                "set evaluate.sequence_length alike and apply again",
            )
        if evaluation.metrics != first.report.evaluation.metrics:
            raise RunError(
                f"{_name(run)} is scored by {', '.join(evaluation.metrics)}, {_name(first)} by "
                f"{', '.join(first.report.evaluation.metrics)}",
                "set data.metrics alike and apply again",
            )
        _check_examples(first, run)


def _check_examples(first: SystemRun, run: SystemRun) -> None:
    """The same examples in the same order, and outputs that belong to the report."""
    one, other = first.test, run.test
    digests = {d for d in (one.digest, other.digest) if d is not None}
    if one.labels.tolist() != other.labels.tolist() or len(digests) > 1:
        raise RunError(
            f"{_name(run)} and {_name(first)} report on different examples of {run.task}",
            "compare runs whose recipes read the same data: test_file, split, sizes and data seed alike",
        )
    if len(run.test.labels) != run.report.evaluation.examples:
        raise RunError(
            f"{_name(run)}: its outputs are of {len(run.test.labels)} examples, its report of "
            f"{run.report.evaluation.examples}",
            "apply its recipe again with --fresh",
        )


def _name(run: SystemRun) -> str:
    return run.run or f"{run.system}, {run.task}, seed {run.seed}"


def _notes(runs: Sequence[SystemRun], names: Sequence[str], tasks: Sequence[str]) -> list[str]:
    labels = {run.system: run.label for run in runs}
    notes = []
    for task in tasks:
        seeds = {name: sorted(r.seed for r in runs if (r.system, r.task) == (name, task)) for name in names}
        every = sorted({seed for own in seeds.values() for seed in own})
        for name, own in seeds.items():
            if not own:
                notes.append(f"{labels[name]} was not run on {task}.")
            elif own != every:
                missing = ", ".join(str(seed) for seed in every if seed not in own)
                notes.append(f"{labels[name]} on {task} lacks the seeds {missing}.")
        if len(every) == 1:
            notes.append(
                f"{task} has one seed: its intervals hold the chance of the examples alone, "
                "not that of training."
            )
    return notes


def _dense_notes(runs: Sequence[SystemRun], subject: str) -> list[str]:
    """Whose own dense model is another than the subject's."""
    dense = {(r.task, r.seed): r.report.evaluation.dense.scores for r in runs if r.system == subject}
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for run in runs:
        own, other = run.report.evaluation.dense.scores, dense.get((run.task, run.seed))
        metric = run.report.evaluation.metrics[0]
        if own is not None and other is not None and own[metric] != other[metric]:
            found.setdefault((run.label, run.task, metric), []).append((own[metric], other[metric]))
    notes = []
    for (label, task, metric), pairs in found.items():
        mine, theirs = (percent_words(fmean(values)) for values in zip(*pairs, strict=True))
        notes.append(
            f"{label} on {task}: the dense model of its own runs has {metric} {mine}, that of the runs it is "
            f"set against {theirs}; shares kept are of the latter."
        )
    return notes
