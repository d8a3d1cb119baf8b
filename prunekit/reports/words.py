"""A report's figures in words: the sentence at its top, numbers as people read them."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from decimal import ROUND_HALF_UP, Decimal

from .comparison.schema import Comparison
from .points import ROUNDING, OperatingPoint
from .schema import RunReport, SystemReport

_MONTHS = ["January", "February", "March", "April", "May", "June", "July"]
_MONTHS += ["August", "September", "October", "November", "December"]


def fixed(value: float, digits: int = 1, sign: str = "") -> str:
    """So many decimals, and ties away from zero, as the page's scripts round: ``93.25`` -> ``93.3``.

    Args:
        sign: as in a format: ``"+"`` for one before every number.
    """
    return f"{Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP):{sign}f}"


def count_words(value: float) -> str:
    """``13_920_024`` -> ``13.92 M``."""
    if value >= 1e6:
        return f"{fixed(value / 1e6, 2)} M"
    return f"{fixed(value / 1e3)} k" if value >= 1e4 else f"{value:,.0f}"


def flops_words(macs: float) -> str:
    """FLOPs of so many multiply-adds: ``1_270_892_544`` -> ``2.54 GFLOPs``."""
    flops = 2.0 * macs
    if flops == 0:
        return "0"
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if flops >= scale or unit == "k":
            value = flops / scale
            digits = 0 if value >= 100 else 1 if value >= 10 else 2
            return f"{fixed(value, digits)} {unit}FLOPs"
    raise AssertionError("unreachable")


def percent_words(share: float | None) -> str:
    """``0.9718`` -> ``97.2 %``; a dash where there is none."""
    return "–" if share is None else f"{fixed(100 * share)} %"


def times_words(factor: float) -> str:
    """``8.06`` -> ``8.1x``."""
    return f"{fixed(factor, 0 if factor >= 100 else 1)}x"


def seconds_words(seconds: float) -> str:
    """``754`` -> ``12.6 min``."""
    if seconds < 90:
        return f"{fixed(seconds)} s"
    return f"{fixed(seconds / 60)} min" if seconds < 5400 else f"{fixed(seconds / 3600)} h"


def date_words(created: str) -> str:
    """``2025-01-31T09:05:00+00:00`` -> ``31 January 2025, 09:05 UTC``; what is no date stays as it is."""
    try:
        when = datetime.fromisoformat(created)
    except ValueError:
        return created
    when = when if when.tzinfo is None else when.astimezone(timezone.utc)
    zone = "" if when.tzinfo is None else " UTC"
    return f"{when.day} {_MONTHS[when.month - 1]} {when.year}, {when:%H:%M}{zone}"


def note_words(note: str) -> str:
    """A task's note as a sentence: ``9000 training examples`` -> ``9,000 training examples.``

    Done where it is shown: runs are told apart by their notes, so what is written into them must not change.
    """
    counted = re.sub(
        r"\b\d{4,}(?= (?:training|validation|test|calibration)\b)", lambda m: f"{int(m[0]):,}", note
    )
    return counted if not counted or counted[-1] in ".!?" else f"{counted}."


def chosen_point(system: SystemReport) -> OperatingPoint:
    """The point of the chosen policy; all layers where none was chosen."""
    return system.evaluation.chosen or system.evaluation.all_layers


def gains(parameters_fewer: float, flops_fewer: float, score: str) -> str:
    """``8.1x fewer parameters, 17.0x fewer FLOPs, 97.2 % of the score.``"""
    return (
        f"{times_words(parameters_fewer)} fewer parameters, {times_words(flops_fewer)} fewer FLOPs, {score}."
    )


def summary_sentence(report: RunReport) -> str:
    """What the run's own system gained and kept, see :func:`gains`."""
    system = report.systems[0]
    point = chosen_point(system)
    metric = system.evaluation.metrics[0]
    score = (
        f"{metric} {percent_words(point.all.scores[metric])}"
        if point.kept is None
        else f"{percent_words(point.kept)} of the score"
    )
    return gains(report.dense.parameters / system.figures.parameters, point.all.speedup, score)


def lead_sentence(report: RunReport, guarantee: bool = True) -> str:
    """What was set against what, on which data, under which policy, and what was shown of it.

    Args:
        guarantee: whether to say the last.
    """
    system = report.systems[0]
    evaluation = system.evaluation
    point = chosen_point(system)
    policy = (
        "examples leave early by " + point.label if point.policy is not None else "no example leaves early"
    )
    shown = f" {system.guarantee['words']}" if guarantee and system.guarantee is not None else ""
    return (
        f"{system.name} against {report.dense.name} on {report.task} ({evaluation.split} part, "
        f"{evaluation.examples:,} examples, {evaluation.sequence_length} tokens for the FLOPs); "
        f"{policy}{_choice_words(system)}.{shown}"
    )


def _choice_words(system: SystemReport) -> str:
    """How the policy was chosen, and, which is another thing, what it loses on the reported examples."""
    evaluation, point = system.evaluation, chosen_point(system)
    told = system.max_drop_points is not None or system.max_drop is not None
    if point.policy is None or system.validation is None or not told:
        return ""
    metric = evaluation.metrics[0]
    whole, own = evaluation.all_layers.all.scores[metric], point.all.scores[metric]
    if system.max_drop_points is not None:
        most = f"{_points(system.max_drop_points)} of {metric} against all layers"
        loses = f" (on the reported ones it loses {_lost_words(whole - own)})"
    else:
        assert system.max_drop is not None
        most, loses = f"{percent_words(system.max_drop)} of the score of all layers", ""
        if whole > 0:  # else there is no share of it
            lost = 1.0 - own / whole
            loses = f" (on the reported ones it loses {percent_words(lost) if lost > 0 else 'nothing'})"
    return f", the cheapest policy that lost at most {most} on the validation examples{loses}"


def _points(value: float) -> str:
    """``0.01`` -> ``1 point``, ``0.025`` -> ``2.5 points``."""
    words = f"{100 * value:.6g}"
    return f"{words} point{'s' * (words != '1')}"


def _lost_words(lost: float) -> str:
    """``0.0061`` -> ``0.6 points``."""
    if lost <= ROUNDING:
        return "nothing"
    rounded = round(lost, 3)
    return _points(rounded) if rounded else "less than 0.1 points"


def compared_sentence(comparison: Comparison) -> str:
    """What the subject gained and kept, mean over its seeds and tasks, see :func:`gains`."""
    system = comparison.system(comparison.subject)
    kept = comparison.kept(system.name)
    score = (
        f"{percent_words(kept)} of the score"
        if kept is not None
        else ", ".join(
            f"{task.task} {task.metric} {percent_words(row.scores[task.metric].mean)}"
            for task, row in comparison.rows(system.name)
        )
    )
    return gains(system.parameters_fewer, comparison.speedup(system.name), score)


def compared_lead(comparison: Comparison) -> str:
    """What a comparison sets against what."""
    # A label may be any words: quoted, so that it does not run into the sentence.
    others = [f"“{system.label}”" for system in comparison.systems if system.name != comparison.subject]
    seeds = comparison.seeds
    tasks = ", ".join(f"{task.task} ({task.examples:,} examples)" for task in comparison.tasks)
    means = " The figures above are means over the tasks." if len(comparison.tasks) > 1 else ""
    return (
        f"{comparison.system(comparison.subject).label} against {comparison.dense_name}, "
        f"and beside {', '.join(others)}: {tasks}, {len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}, "
        f"FLOPs at {comparison.sequence_length} tokens. Every exit policy is chosen on held-out data.{means}"
    )
