"""The model card: what the Hub, and a person who opens the folder, reads first."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from ..files import write_text
from .escaping import code_block, escape
from .markdown import exit_table, part_table, result_table
from .schema import RunReport
from .words import chosen_point, lead_sentence, note_words, summary_sentence

_USAGE = """\
```python
import prunekit  # tells transformers the sizes; without it, it calls the quantization type unknown
from transformers import pipeline

classify = pipeline("text-classification", model="path/to/this/folder")
classify("A film that knows exactly what it is.")
```

`prunekit predict path/to/this/folder "text"` also says at which layer each text left. The threshold is in
`config.json` under `exit_policy`; `model.set_exit_policy({"name": "entropy", "threshold": 0.1})` changes it,
`model.set_exit_policy(None)` sends every text through all layers.
"""


_GUARANTEE, _END = "<!-- guarantee -->", "<!-- end of guarantee -->"


def model_card(report: RunReport) -> str:
    """A README.md for the model folder: front matter, figures, usage."""
    system = report.systems[0]
    front: dict[str, object] = {
        "library_name": "prunekit",
        "pipeline_tag": "text-classification",
        "tags": ["text-classification", "pruning", "early-exit", "model-compression", "transformers"],
        "metrics": list(system.evaluation.metrics),
    }
    if report.license is not None:
        front["license"] = report.license
    labels = ", ".join(escape(name) for name in report.label_names)
    point = chosen_point(system)
    leaves = f"under the policy {escape(point.label)}" if point.policy else "after all layers"
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n",
        f"# {escape(report.name)}\n",
        f"**{escape(summary_sentence(report))}**\n",
        f"{escape(lead_sentence(report, guarantee=False))} Labels: {labels}.\n",
        f"> {escape(note_words(report.task_note))}\n" if report.task_note else "",
        "" if system.guarantee is None else guarantee_section(system.guarantee["words"]),
        "## Use\n",
        _USAGE,
        "## Figures\n",
        result_table(report),
        f"Every exit, and the share of the examples that leave there {leaves}:\n",
        exit_table(system),
        part_table(report),
        "## Made by\n",
        code_block(report.command, "sh") if report.command else "",
        f"Seed {report.seed}; {escape(', '.join(f'{k} {v}' for k, v in report.versions.items()))}.\n",
    ]
    return "\n".join(part for part in parts if part)


def guarantee_section(words: str) -> str:
    """What was shown of the model's exit policy, as a section that :func:`with_guarantee` finds again."""
    return f"{_GUARANTEE}\n## Guarantee\n\n{escape(words)}\n{_END}\n"


def with_guarantee(card: str, words: str) -> str:
    """A card whose guarantee is another; all else stays as it is.

    Where it had none, the section comes before the first other one, or at the end.
    """
    section = guarantee_section(words)
    before, found, rest = card.partition(_GUARANTEE)
    if found:
        _, ended, after = rest.partition(f"{_END}\n")
        if ended:
            return before + section + after
    before, found, after = card.partition("\n## ")
    if found:
        return f"{before}\n{section}\n## {after}"
    return f"{card.rstrip()}\n\n{section}"


def write_card(folder: str | os.PathLike[str], report: RunReport) -> Path:
    """Write the card as ``README.md`` into a model folder."""
    return write_text(Path(folder) / "README.md", model_card(report))
