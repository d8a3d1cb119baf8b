"""What the exits of a run's model say about a split: computed, or read from a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RunError
from .base import load_model

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from numpy.typing import NDArray
    from torch import Tensor

    from ..data import EncodedTask
    from ..exits import MultiExitForSequenceClassification
    from ..reports import ExitOutputs

FOLDER = "outputs"


def outputs_of(run_folder: Path, split: str) -> ExitOutputs:
    """What every exit of a finished run's model said about a split, e.g. ``"test"``.

    Read from the run's ``outputs/``; where they are not there, as in runs of earlier versions, they are
    computed from its model and recipe, and nothing is written.

    Raises:
        RunError: no finished run, or a damaged one, or its data are not any more what it was made with.
        DataError: the recipe's data cannot be read any more, or has no such split.
    """
    from ..reports import read_outputs
    from ..runs import check_result

    folder, name = run_folder / FOLDER, f"{split}.safetensors"
    if (folder / name).is_file():
        check_result(run_folder, f"{FOLDER}/{name}")
        return read_outputs(folder, split)
    if not (run_folder / "done.json").is_file() or not (run_folder / "model").is_dir():
        raise RunError(f"{run_folder} is not a finished run", "give the folder of one, or apply its recipe")
    return _computed(run_folder, split)


def _computed(run_folder: Path, split: str) -> ExitOutputs:
    from accelerate import PartialState

    from ..data import collator, encode, label_names_of_model, load_task
    from ..models import ModelConfig
    from ..pretrained import read_tokenizer
    from ..runs import check_data, check_result, recipe_of

    check_result(run_folder, "model")
    recipe = recipe_of(run_folder)
    tokenizer = read_tokenizer(run_folder / "model")
    names = label_names_of_model(ModelConfig(name=str(run_folder / "model")))
    task = encode(load_task(recipe.data, recipe.seed, names), tokenizer, recipe.training.max_length)
    check_data(run_folder, recipe, task, [split])
    device = PartialState().device
    original = _original(run_folder, recipe.stages)
    return model_outputs(
        load_model(run_folder / "model", device),
        None if original is None else load_model(original, device),
        task,
        split,
        collator(tokenizer),
        recipe.training.eval_batch_size,
    )


def _original(run_folder: Path, stages: list[str]) -> Path | None:
    """Folder of the dense model, as the stages' ``done.json`` tell."""
    from ..runs import check_result, models_of

    found = models_of(run_folder, stages).get("original")
    if found is not None:
        check_result(run_folder, found)
    return None if found is None else run_folder / found


def model_outputs(
    model: MultiExitForSequenceClassification,
    dense: MultiExitForSequenceClassification | None,
    task: EncodedTask,
    split: str,
    collate: Callable[[Any], dict[str, Tensor]],
    batch_size: int,
) -> ExitOutputs:
    """Compute what every exit of a model says about a split, and what the dense model predicts, in float32.

    Args:
        dense: its last exit predicts; ``None``: there is none.
        collate: makes a batch of encoded examples.
    """
    from .training.batches import Rows
    from .training.predict import exit_logits

    data, encoded, lengths = task.task.splits[split], task.splits[split], task.lengths(split)
    outputs = examples_outputs(model, data, encoded, lengths, collate, batch_size)
    if dense is None:
        return outputs
    said = exit_logits(dense, Rows(encoded), lengths, collate, batch_size)[-1]
    return replace(outputs, dense_predictions=said.argmax(axis=1))


def examples_outputs(
    model: MultiExitForSequenceClassification,
    data: Dataset,
    encoded: Dataset,
    lengths: NDArray[np.int64],
    collate: Callable[[Any], dict[str, Tensor]],
    batch_size: int,
) -> ExitOutputs:
    """Compute what every exit of a model says about examples, in float32.

    Args:
        data: the examples in texts, as in :class:`~prunekit.data.TaskData`.
        encoded: the same in token ids, as in :class:`~prunekit.data.EncodedTask`.
        lengths: tokens of each, ``[N]``.
        collate: makes a batch of encoded examples.
    """
    from ..data.reviews_grammar import KINDS
    from ..reports import ExitOutputs
    from .training.batches import Rows
    from .training.predict import exit_answers

    texts = list(data["text"])
    if "text_pair" in data.column_names:
        texts = [f"{first} | {second}" for first, second in zip(texts, data["text_pair"], strict=True)]
    logits, certainty = exit_answers(model, Rows(encoded), lengths, collate, batch_size)
    return ExitOutputs(
        logits=logits,
        labels=data.with_format("numpy")["label"][:],
        lengths=lengths,
        exit_layers=list(model.config.exit_layers),
        texts=texts,
        difficulty=list(data["difficulty"]) if "difficulty" in data.column_names else None,
        difficulties=list(KINDS) if "difficulty" in data.column_names else None,
        certainty=certainty,
    )
