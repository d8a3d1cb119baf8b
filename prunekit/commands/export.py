"""``prunekit export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import console
from ..errors import CheckpointError
from ..text import shown
from .sources import model_folder


def export_model(
    source: str, *, to: Any, output: Path | None, precision: Any, exit_layer: int | None, whole: bool
) -> None:
    """Write a model's graphs, and print what they are and by how much they differ from the model."""
    from ..checkpoints import load
    from ..pretrained import read_tokenizer
    from ..runtime import export

    console.quiet_libraries()
    folder = model_folder(source)
    target = output or Path(source) / to
    model = load(folder)
    try:
        tokenizer = read_tokenizer(folder)
    except CheckpointError:
        tokenizer = None  # a model alone can be exported, for other programs
    made = export(
        model,
        target,
        to,
        precision=precision,
        exit_layer=exit_layer,
        whole=whole,
        tokenizer=tokenizer,
    )
    table = console.table(f"export for {to}", "what", "value")
    for column in table.columns:
        column.justify = "left"
    leaves = f"one graph for each of {len(made.graphs)} exits" if len(made.graphs) > 1 else "one graph"
    size = sum(file.stat().st_size for file in target.iterdir())
    table.add_row("graphs", leaves)
    table.add_row("precision", made.precision)
    table.add_row("size", f"{size / 2**20:.1f} MiB")
    off, largest = made.differences["logits"], made.differences["largest_logit"]
    table.add_row("largest difference of a logit", f"{off:.1e}, where logits reach {largest:.1e}")
    table.add_row("tokenizer", "beside them" if tokenizer is not None else "none: the folder has none")
    table.add_row("folder", shown(str(target), keep=""))
    console.out().print(table)
