"""The examples and models that a run begins with: it does not go on with others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..digests import digest_file
from ..errors import RunError
from ..pretrained import described
from ..text import shown
from .records import DATA, DataRecord, SplitDigest, StartModel, read_record

if TYPE_CHECKING:
    from datasets import Dataset

    from ..data import DataConfig, EncodedTask
    from ..models import ModelConfig
    from ..recipes import Recipe

# Files of a model's folder that a run reads: configuration, weights, tokenizer.
_READ = (
    "config.json", "*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin",
    "pytorch_model.bin.index.json",
    "tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model",
)  # fmt: skip
_DAMAGED = (
    "bring it back from a copy; or remove it, if data and model are those that the run began with: it is "
    "written anew"
)


def data_record(recipe: Recipe, task: EncodedTask, models: bool = True) -> DataRecord:
    """What a run of a recipe begins with now.

    Args:
        recipe: of the run.
        task: its examples.
        models: whether to look at the models too.

    Raises:
        CheckpointError: a model's folder cannot be read.
    """
    encoded = task.splits
    return DataRecord(
        asked=asked_for(recipe),
        labels=list(task.task.label_names),
        splits={
            name: SplitDigest(examples=len(data), sha256=_digest(data), tokens=_digest(encoded[name]))
            for name, data in task.task.splits.items()
        },
        models={key: _start_model(model) for key, model in _models(recipe)} if models else {},
    )


def asked_for(recipe: Recipe) -> str:
    """One digest of the settings that say which examples and models a run begins with."""
    data = recipe.data.model_dump(mode="json")
    seed = recipe.seed if recipe.data.seed is None else recipe.data.seed
    models = {key: model.model_dump(mode="json") for key, model in _models(recipe)}
    asked = [{**data, "seed": seed}, recipe.training.max_length, models, recipe.model.name]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def data_of(run: Path) -> DataRecord | None:
    """What a run began with; ``None``: it did not say, as those of earlier versions.

    Raises:
        DamagedRun: it cannot be read.
    """
    file = run / DATA
    return read_record(file, DataRecord, _DAMAGED) if file.is_file() else None


def differing_splits(one: Path, other: Path) -> list[str]:
    """Splits whose examples differ in two runs that ask for the same data: a file changed between them.

    Raises:
        DamagedRun: what they began with cannot be read.
    """
    first, second = data_of(one), data_of(other)
    if first is None or second is None or first.asked != second.asked:
        return []
    return [name for name, split in first.splits.items() if second.splits.get(name) != split]


def settle_data(run: Path, recipe: Recipe, task: EncodedTask, write: bool) -> None:
    """Refuse other data than the run began with; a run that has not said what it begins with says so now.

    Args:
        run: its folder.
        recipe: of the run.
        task: its examples, as they are now.
        write: whether this process writes.

    Raises:
        RunError: naming the keys of the recipe and what changed.
    """
    there, now = data_of(run), data_record(recipe, task)
    if there is None:
        if write:
            now.write(run / DATA)
    elif changes := [*_split_changes(recipe, there, now, now.splits), *_model_changes(there, now)]:
        raise _refused(run, recipe, changes)


def check_data(run: Path, recipe: Recipe, task: EncodedTask, splits: Iterable[str]) -> None:
    """Refuse examples that are not any more those that a finished run was made with.

    Args:
        run: its folder.
        recipe: of the run.
        task: its examples, as they are now.
        splits: those that are asked for.

    Raises:
        RunError: naming the key of the recipe and the file.
    """
    there = data_of(run)
    if there is None:
        return
    if changes := list(_split_changes(recipe, there, data_record(recipe, task, models=False), splits)):
        raise _refused(run, recipe, changes)


def _refused(run: Path, recipe: Recipe, changes: list[str]) -> RunError:
    versions = "" if recipe.data.from_files else ", or the versions that run.json names"
    return RunError(
        f"the run {run} began with other data than there are now\n"
        + "\n".join(f"  {line}" for line in changes),
        f"bring back what was there{versions}; or start anew with --fresh (the old run is kept), or give "
        "this one another name with --name OTHER",
    )


def _split_changes(
    recipe: Recipe, there: DataRecord, now: DataRecord, splits: Iterable[str]
) -> Iterator[str]:
    """One line for each source of examples that gives others."""
    if there.labels != now.labels:
        was, now_is = (shown(", ".join(record.labels), keep="") for record in (there, now))
        yield f"{_source(recipe.data, 'train')}: the label names were {was}, and are {now_is}"
    texts: dict[str, list[str]] = {}
    tokens = []
    for split in splits:
        one, other = there.splits.get(split), now.splits[split]
        if one is None:
            continue  # it was not asked for then
        if (one.examples, one.sha256) != (other.examples, other.sha256):
            texts.setdefault(_source(recipe.data, split), []).append(split)
        elif one.tokens != other.tokens:
            tokens.append(split)
    for source, names in texts.items():
        yield f"{source}: its {_and(names)} examples are not those that the run began with"
    if tokens and not texts:
        yield f"model.name {recipe.model.name}: its tokenizer reads the {_and(tokens)} examples otherwise"


def _model_changes(there: DataRecord, now: DataRecord) -> Iterator[str]:
    for key, model in now.models.items():
        before = there.models.get(key)
        if before is None or before == model:
            continue
        if model.files is None or before.files is None:
            was, now_is = (one.commit or "a folder" for one in (before, model))
            yield f"{key} {model.name}: was {was}, and is {now_is}"
            continue
        names = sorted(
            name
            for name in before.files.keys() | model.files.keys()
            if before.files.get(name) != model.files.get(name)
        )
        words = f"{_and(names)} {'is' if len(names) == 1 else 'are'} not what the run began with"
        yield f"{key} {model.name}: {words}"


def _source(data: DataConfig, split: str) -> str:
    """The recipe's key that a split comes from, with its value."""
    if data.from_files:
        own = getattr(data, f"{split}_file", None)
        return f"data.{split}_file {own}" if own else f"data.train_file {data.train_file}"
    return f"data.hub_name {data.hub_name}" if data.hub_name else f"data.task {data.task}"


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _models(recipe: Recipe) -> Iterator[tuple[str, ModelConfig]]:
    """The models that a run of a recipe begins with, by the keys that name them; not those built in."""
    found = {"model.name": recipe.model}
    for key in recipe.stages:
        found.update(recipe.stage_class(key)(recipe.config(key)).start_models(recipe, key))
    yield from ((key, model) for key, model in found.items() if not model.is_builtin)


def _start_model(model: ModelConfig) -> StartModel:
    folder = Path(model.name)
    if folder.is_dir():
        files = sorted({file for pattern in _READ for file in folder.glob(pattern) if file.is_file()})
        # The hub's own folders hold links to their files.
        return StartModel(name=model.name, files={file.name: digest_file(file.resolve()) for file in files})
    return StartModel(name=model.name, commit=described(model.name, model.revision).get("_commit_hash"))


def _digest(data: Dataset) -> str:
    """Of all columns of a table by their names, however they lie in the memory."""
    table = data.with_format("arrow")[:]
    digest = hashlib.sha256()
    for name in sorted(table.column_names):
        column = table.column(name)
        digest.update(json.dumps([name, len(column)]).encode())
        _add(digest, column.chunks)
    return digest.hexdigest()


def _add(digest: Any, chunks: Sequence[Any]) -> None:
    """Add the values of a column, wherever it is cut. Lengths first: else "ab", "c" would be "a", "bc"."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as compute

    if all(isinstance(chunk, (pa.ListArray, pa.LargeListArray)) for chunk in chunks):
        _add(digest, [chunk.value_lengths() for chunk in chunks])
        _add(digest, [chunk.flatten() for chunk in chunks])
    elif all(isinstance(chunk, (pa.StringArray, pa.LargeStringArray)) for chunk in chunks):
        _add(digest, [compute.binary_length(chunk) for chunk in chunks])
        for chunk in chunks:
            digest.update("".join(chunk.to_pylist()).encode("utf-8", "surrogatepass"))
    else:
        for chunk in chunks:
            digest.update(chunk.to_numpy(zero_copy_only=False).astype(np.int64).tobytes())
