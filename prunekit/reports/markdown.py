"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from .comparison.markdown import comparison_markdown
from .escaping import code_block, escape
from .points import OperatingPoint, share_kept
from .reproducing import commands
from .schema import RunReport, SystemReport
from .tables import Row, markdown_table
from .words import (
    chosen_point,
    count_words,
    flops_words,
    lead_sentence,
    note_words,
    percent_words,
    seconds_words,
    summary_sentence,
    times_words,
)


def render_markdown(report: RunReport) -> str:
    """The report as Markdown, its tables the same as the page's."""
    system = report.systems[0]
    parts = [f"# {escape(report.name)}\n"]
    if report.comparison is not None:
        parts += [
            comparison_markdown(report.comparison),
            f"# {escape(system.name)} alone: {escape(report.task)}, seed {report.seed}\n",
        ]
    parts += [f"**{escape(summary_sentence(report))}**\n", escape(lead_sentence(report)) + "\n"]
    if report.task_note:
        parts.append(f"> {escape(note_words(report.task_note))}\n")
    parts += ["## The result\n", result_table(report), _result_note(report)]
    for s in report.systems:
        title = f" of {escape(s.name)}" if len(report.systems) > 1 else ""
        parts += [f"## Every exit policy{title}\n", policy_table(s), f"## Every exit{title}\n", exit_table(s)]
        if s.evaluation.all_layers.by_difficulty:
            parts += [f"## By difficulty{title}\n", difficulty_table(s)]
    parts += [
        "## What every layer kept\n",
        layer_table(system),
        "## Parameters and FLOPs by part\n",
        part_table(report),
    ]
    if system.evaluation.early_errors:
        parts += ["## Left early, and wrongly\n", early_error_table(report)]
    if report.stages:
        parts += ["## Stages\n", stage_table(report)]
    parts += ["## How to reproduce\n", _reproduce(report)]
    return "\n".join(parts)


def result_table(report: RunReport) -> str:
    """:func:`result_rows` as Markdown."""
    return markdown_table(*result_rows(report))


def result_rows(report: RunReport) -> tuple[list[str], list[Row]]:
    """Head and rows: dense model, all layers, chosen policy, short examples (as the paper's Table 3)."""
    dense = report.systems[0].evaluation.dense
    metrics = report.systems[0].evaluation.metrics
    length = report.systems[0].evaluation.sequence_length
    header = [
        "Model",
        "Parameters",
        "Fewer",
        f"FLOPs at {length} tokens",
        "Fewer",
        "FLOPs at real lengths",
        "Fewer",
    ]
    header += [*metrics, "Kept"]
    rows: list[Row] = [
        [
            report.dense.name,
            count_words(report.dense.parameters),
            times_words(1),
            flops_words(dense.macs),
            times_words(1),
            flops_words(dense.macs_real),
            times_words(1),
            *(percent_words(dense.scores[m] if dense.scores else None) for m in metrics),
            percent_words(1.0 if dense.scores and dense.scores[metrics[0]] > 0 else None),
        ]
    ]
    for system in report.systems:
        rows += _system_rows(report, system)
    return header, rows


def _system_rows(report: RunReport, system: SystemReport) -> list[Row]:
    evaluation, point = system.evaluation, chosen_point(system)
    metric = evaluation.metrics[0]
    named = [(f"{system.name}, {point.label}", point.all, point.kept)]
    if point.policy is not None:
        named.insert(0, (f"{system.name}, all layers", evaluation.all_layers.all, evaluation.all_layers.kept))
    if point.short is not None:
        dense_short = (evaluation.dense.short_scores or {}).get(metric)
        kept = share_kept(point.short.scores[metric], dense_short)
        named.append((f"{system.name}, short examples only", point.short, kept))
    return [
        [
            name,
            count_words(system.figures.parameters),
            times_words(report.dense.parameters / system.figures.parameters),
            flops_words(part.macs),
            times_words(part.speedup),
            flops_words(part.macs_real),
            times_words(part.speedup_real),
            *(percent_words(part.scores[m]) for m in evaluation.metrics),
            percent_words(kept),
        ]
        for name, part, kept in named
    ]


def _result_note(report: RunReport) -> str:
    evaluation = report.systems[0].evaluation
    body = report.dense.parameters - report.dense.embedding_parameters
    own = report.systems[0].figures.parameters - report.systems[0].figures.embedding_parameters
    return (
        "FLOPs are two for every multiply-add of matrix products, per example, up to and including the exit "
        f"it took, exit classifiers included. Short examples have fewer than {evaluation.median_length:g} "
        "tokens, the median, and are set against the dense model on the same examples. Outside the "
        f"embeddings: {count_words(body)} to {count_words(own)} parameters, {times_words(body / own)} "
        "fewer.\n"
    )


def policy_table(system: SystemReport) -> str:
    """The policies of the sweep, from the cheapest; those that send every example the same way once."""
    evaluation, chosen = system.evaluation, chosen_point(system)
    distinct: dict[str, OperatingPoint] = {}
    for point in (chosen, evaluation.all_layers, *evaluation.points):
        distinct.setdefault(repr((point.exit_shares, point.all)), point)
    points = sorted(distinct.values(), key=lambda p: p.all.macs)
    header = ["Policy", *evaluation.metrics, "Kept", f"FLOPs at {evaluation.sequence_length}", "Fewer"]
    header += ["Fewer at real lengths", "Mean exit layer", "Chosen"]
    rows = [
        [
            p.label,
            *(percent_words(p.all.scores[m]) for m in evaluation.metrics),
            percent_words(p.kept),
            flops_words(p.all.macs),
            times_words(p.all.speedup),
            times_words(p.all.speedup_real),
            f"{p.all.mean_exit_layer:.2f}",
            "yes" if p.policy == chosen.policy else "",
        ]
        for p in points
    ]
    return markdown_table(header, rows)


def exit_table(system: SystemReport) -> str:
    """Each exit used alone, and the share of examples that leave there under the chosen policy."""
    evaluation = system.evaluation
    rows = [
        [
            f"layer {layer}",
            *(percent_words(scores[m]) for m in evaluation.metrics),
            percent_words(share),
            flops_words(macs),
        ]
        for layer, scores, share, macs in zip(
            evaluation.exit_layers,
            evaluation.exit_scores,
            chosen_point(system).exit_shares,
            evaluation.exit_macs,
            strict=True,
        )
    ]
    header = ["Exit", *(f"{m}, used alone" for m in evaluation.metrics), "Leave here"]
    return markdown_table([*header, f"FLOPs up to it at {evaluation.sequence_length}"], rows)


def difficulty_table(system: SystemReport) -> str:
    """Scores and mean exit layer by difficulty tag under the chosen policy."""
    metric = system.evaluation.metrics[0]
    rows = [
        [
            tag,
            f"{part.examples:,}",
            percent_words(part.scores[metric]),
            f"{part.mean_exit_layer:.2f}",
            times_words(part.speedup),
        ]
        for tag, part in chosen_point(system).by_difficulty.items()
    ]
    return markdown_table(["Difficulty", "Examples", metric, "Mean exit layer", "Fewer FLOPs"], rows)


def layer_table(system: SystemReport) -> str:
    """Heads and neurons kept in every layer."""
    rows = [
        [f"layer {s.layer}", f"{s.heads} of {s.heads_before}", f"{s.neurons} of {s.neurons_before}"]
        for s in system.figures.layers
    ]
    return markdown_table(["Layer", "Heads", "FFN neurons"], rows)


def part_table(report: RunReport) -> str:
    """Parameters and FLOPs by part, dense and slender."""
    dense = {p.part: p for p in report.dense.parts}
    own = {p.part: p for p in report.systems[0].figures.parts}
    rows = [
        [
            part,
            *(count_words(side[part].parameters) if part in side else "–" for side in (dense, own)),
            *(flops_words(side[part].macs) if part in side else "–" for side in (dense, own)),
        ]
        for part in dict.fromkeys([*dense, *own])
    ]
    return markdown_table(
        ["Part", "Dense parameters", "Slender parameters", "Dense FLOPs", "Slender FLOPs"], rows
    )


def early_error_table(report: RunReport, shown: int = 10) -> str:
    """The surest of the examples that left early with a wrong answer."""
    evaluation = report.systems[0].evaluation
    names = report.label_names
    rows = [
        [
            e.text[:200],
            names[e.label],
            names[e.predicted],
            percent_words(e.confidence),
            e.exit_layer,
            names[e.last_exit_says],
        ]
        for e in evaluation.early_errors[:shown]
    ]
    table = markdown_table(["Text", "Label", "Answer", "Confidence", "Left at layer", "Last exit says"], rows)
    return f"{evaluation.early_error_count} of {evaluation.examples:,} examples; the surest:\n\n{table}"


def stage_table(report: RunReport) -> str:
    """Time, steps and last metrics of every stage."""
    metrics = report.systems[0].evaluation.metrics
    rows = [
        [
            s.name,
            seconds_words(s.seconds),
            "–" if s.steps is None else f"{s.steps:,}",
            ", ".join(f"{k} {_measured(k, v, metrics)}" for k, v in s.metrics.items()),
        ]
        for s in report.stages
    ]
    return markdown_table(["Stage", "Time", "Optimizer steps", "Metrics at its end"], rows)


def _measured(name: str, value: float | None, metrics: Sequence[str]) -> str:
    """A stage's metric: a share, such as a score, in percent as everywhere else."""
    if value is None:
        return "–"
    shares = ("score", "kept", *metrics)
    return percent_words(value) if name.split(" ")[0] in shares else f"{value:.4g}"


def _reproduce(report: RunReport) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    machine = ", ".join(f"{name}: {value}" for name, value in report.machine.items())
    lines = []
    for words, command in commands(report):
        lines += [escape(words), code_block(command, "sh")]
    lines += [
        f"Seed {report.seed}. {escape(versions)}.",
        escape(machine) + ("." if machine else ""),
        *map(escape, report.notes),
    ]
    return "\n\n".join(line for line in lines if line) + "\n"
