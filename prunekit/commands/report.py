"""``prunekit report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import console
from ..errors import CheckpointError, PrunekitError, UnsupportedModelError, first_line
from ..text import shown
from .sources import is_run, model_folder

if TYPE_CHECKING:
    from ..reports import Counts


def report_on(source: str, *, length: int, depth: int) -> None:
    """Print what a model costs, per module and per exit; of a run also what it gave."""
    from ..calibration import guarantee_of
    from ..reports import count
    from ..runs import check_result
    from .result import show_result

    console.quiet_libraries()
    _refuse_missing(source)
    model = _model(model_folder(source))
    if is_run(Path(source)):
        check_result(Path(source), "report")
        show_result(Path(source))
    try:
        counted = count(model, sequence_length=length)
    except (PrunekitError, MemoryError):
        raise
    except Exception as error:  # whatever a model of transformers asks for
        raise UnsupportedModelError(
            f"{source}: {type(model).__name__} cannot be run on a text alone: {first_line(error)}",
            "count it in Python: prunekit.count(model, example_inputs=...)",
        ) from error
    print_counts(counted, depth)
    guarantee = guarantee_of(getattr(model, "config", None))
    if guarantee is not None:
        console.say(f"guarantee: {guarantee['words']}")


def print_counts(counts: Counts, depth: int) -> None:
    """Print a count as tables: modules down to ``depth`` dots, and exits."""
    out = console.out()
    title = f"Parameters and cost of one example of {counts.sequence_length} tokens, every layer and exit"
    table = console.table(
        title, "module", "kind", "parameters", "multiply-adds", "FLOPs", caption="FLOPs = 2 x multiply-adds"
    )
    table.columns[1].justify = "left"
    for row in counts.modules:
        level = row.name.count(".") + 1 if row.name else 0
        if level > depth or (level and not row.parameters and not row.macs):
            continue
        name = "  " * level + row.name.rpartition(".")[2] if row.name else "(model)"
        table.add_row(name, row.type, f"{row.parameters:,}", f"{row.macs:,}", f"{row.flops:,}")
    out.print(table)
    if counts.exits:
        exits = console.table(
            "Up to and including each exit",
            "exit after layer",
            "own parameters",
            "multiply-adds",
            "FLOPs",
            "share",
        )
        whole = counts.exits[-1].macs
        for at in counts.exits:
            exits.add_row(
                str(at.layer), f"{at.parameters:,}", f"{at.macs:,}", f"{at.flops:,}", f"{at.macs / whole:.1%}"
            )
        out.print(exits)
    if counts.uncounted:
        names = ", ".join(f"{name} ({times}x)" for name, times in counts.uncounted.items())
        console.say(f"not counted, so the totals are too small: {names}", style="yellow")


def _refuse_missing(source: str) -> None:
    """The hub is not asked for what is meant as a folder: a path, or a name beside runs (``runs/typo``)."""
    from ..pretrained import is_path

    folder = Path(source)
    beside = folder.parent.iterdir() if "/" in source and folder.parent.is_dir() else ()
    if not folder.exists() and (is_path(source) or any(map(is_run, beside))):
        raise CheckpointError(
            f"there is no folder {shown(source, keep='')}",
            "give a run's folder, a model folder (with config.json), or a name on the hub",
        )


def _model(folder: Path) -> Any:
    """A model that prunekit wrote; or any model of transformers, by its configuration alone."""
    from ..checkpoints import load
    from ..pretrained import read_config

    config = read_config(folder)
    if config.model_type.startswith("prunekit"):
        return load(folder)
    return _by_configuration(config, folder)


def _by_configuration(config: Any, folder: Path) -> Any:
    """Counting needs shapes, not weights: the class that the checkpoint names, made without any."""
    import torch
    import transformers
    from transformers import AutoModel, PreTrainedModel

    from ..pretrained import NO_CODE, reading

    names: Any = config.architectures
    with torch.device("meta"), reading(folder):
        for name in names if isinstance(names, list) else ():
            kind: Any = getattr(transformers, name, None) if isinstance(name, str) else None
            is_model = isinstance(kind, type) and issubclass(kind, PreTrainedModel)
            if is_model and kind.config_class is type(config):
                return kind(config)
        if type(config) in AutoModel._model_mapping:
            return AutoModel.from_config(config, **NO_CODE)
    raise UnsupportedModelError(
        f"{folder}: transformers has no model class for {config.model_type!r}",
        "count it in Python: prunekit.count(model, example_inputs=...)",
    )
