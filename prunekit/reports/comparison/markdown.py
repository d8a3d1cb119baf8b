"""A comparison as Markdown."""

from __future__ import annotations

from ..escaping import escape
from ..tables import markdown_table
from ..words import compared_lead, compared_sentence, flops_words, note_words, percent_words
from .schema import ComparedTask, Comparison
from .tables import comparison_rows, difference_rows, effort_rows, layer_rows, task_rows


def comparison_markdown(comparison: Comparison) -> str:
    """The comparison's sentence, tables and notes; headings from the second level."""
    parts = [
        f"**{escape(compared_sentence(comparison))}**\n",
        escape(compared_lead(comparison)) + "\n",
        "## The comparison\n",
        markdown_table(*comparison_rows(comparison)),
        "Every system under the exit policies chosen on its validation examples. FLOPs are two for every "
        "multiply-add, per example, exit classifiers included, and mean over tasks, as is the share of the "
        "dense model's score that is kept (seed by seed). ± is the standard deviation over seeds. Short "
        "examples have fewer tokens than the median; in brackets: how far from all examples.\n",
        "## What each system is made of\n",
        markdown_table(*effort_rows(comparison)),
    ]
    for task in comparison.tasks:
        parts += _task(comparison, task)
    if comparison.notes:
        parts += ["## Notes\n", "\n".join(f"- {escape(note)}" for note in comparison.notes) + "\n"]
    return "\n".join(parts)


def _task(comparison: Comparison, task: ComparedTask) -> list[str]:
    seeds = ("seed " if len(task.seeds) == 1 else "seeds ") + ", ".join(map(str, task.seeds))
    note = f" {note_words(task.note)}" if task.note else ""
    picked = "validation examples" if task.picked_on == "validation" else "reported examples themselves"
    parts = [
        f"## {escape(task.task)}\n",
        escape(f"{task.examples:,} examples, {seeds}.{note}") + "\n",
        markdown_table(*task_rows(comparison, task)),
        f"Area: the mean score over all budgets up to {flops_words(task.budget)}, where at each the policy "
        f"is used that is best on the {picked} among those within it, the constant answer (which costs "
        f"nothing and scores {percent_words(task.constant)}) included.\n",
    ]
    if task.differences:
        parts += [
            markdown_table(*difference_rows(comparison, task)),
            "In points of the score, with the 95 % interval of a paired bootstrap "
            f"({comparison.resamples:,} resamples of the examples{_and_seeds(task)}); {_told(task)}: the "
            f"interval does not hold 0. With {len(task.differences)} such intervals here, one in twenty is "
            "expected to miss by chance.\n",
        ]
    return [*parts, "Every exit used alone:\n", markdown_table(*layer_rows(comparison, task))]


def _told(task: ComparedTask) -> str:
    if len(task.seeds) > 1:
        return "real"
    return "more than the examples' chance (of how another training would come out, one seed says nothing)"


def _and_seeds(task: ComparedTask) -> str:
    return " and the seeds" if len(task.seeds) > 1 else ""
