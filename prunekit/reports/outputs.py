"""What every exit of a model said about a split, in memory and on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..errors import RunError
from ..files import write_bytes

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]

_VERSION = 1


@dataclass(frozen=True)
class ExitOutputs:
    """What every exit of a model said about every example of a split.

    Args:
        logits: float ``[E, N, C]``.
        labels: int64 ``[N]``.
        lengths: unpadded tokens, special ones included, int64 ``[N]``.
        exit_layers: 1-based layer of each exit, ascending, ``[E]``.
        texts: what to show of each example, ``[N]``.
        difficulty: the task's tag of each example, ``[N]``.
        difficulties: the tags from easy to hard; else they are sorted by name.
        certainty: how sure each exit is that it is right, 0 to 1, float ``[E, N]``, of a model that says so.
        dense_predictions: labels the dense model predicts for the same examples, int64 ``[N]``.
        digest: of the texts, made of them where they are given; equal for the same examples, in one order.
    """

    logits: Floats
    labels: Integers
    lengths: Integers
    exit_layers: Sequence[int]
    texts: Sequence[str] | None = None
    difficulty: Sequence[str] | None = None
    difficulties: Sequence[str] | None = None
    certainty: Floats | None = None
    dense_predictions: Integers | None = None
    digest: str | None = None

    def __post_init__(self) -> None:
        exits, examples = self.logits.shape[:2]
        if self.logits.ndim != 3 or exits != len(self.exit_layers) or examples == 0:
            raise ValueError(
                f"logits {self.logits.shape} are not [{len(self.exit_layers)} exits, examples, classes]"
            )
        for name in ("labels", "lengths", "texts", "difficulty"):
            value = getattr(self, name)
            if value is not None and len(value) != examples:
                raise ValueError(f"{len(value)} {name} for {examples} examples")
        if self.dense_predictions is not None and len(self.dense_predictions) != examples:
            raise ValueError(
                f"{len(self.dense_predictions)} predictions of the dense model for {examples} examples"
            )
        if self.certainty is not None and self.certainty.shape != (exits, examples):
            raise ValueError(f"certainty {self.certainty.shape} is not [{exits} exits, {examples} examples]")
        for name in ("logits", "certainty"):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value).all():
                raise ValueError(f"{name} hold values that are not finite")
        if self.texts is not None and self.digest is None:
            object.__setattr__(self, "digest", examples_digest(self.texts))


def examples_digest(texts: Sequence[str]) -> str:
    """SHA-256 of the texts, in their order."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()


def save_outputs(folder: Path, split: str, outputs: ExitOutputs) -> Path:
    """Write ``<split>.safetensors`` into a folder, whole or not at all; no text of an example is in it.

    Raises:
        RunError: the folder cannot be written.
    """
    tensors = {"logits": outputs.logits.astype(np.float32), "labels": outputs.labels.astype(np.int64)}
    tensors["lengths"] = outputs.lengths.astype(np.int64)
    if outputs.certainty is not None:
        tensors["certainty"] = outputs.certainty.astype(np.float32)
    if outputs.dense_predictions is not None:
        tensors["dense_predictions"] = outputs.dense_predictions.astype(np.int64)
    about: dict[str, Any] = {
        "version": _VERSION,
        "exit_layers": [int(layer) for layer in outputs.exit_layers],
        "difficulties": None if outputs.difficulties is None else list(outputs.difficulties),
        "digest": outputs.digest,
    }
    if outputs.difficulty is not None:
        tags, which = np.unique(np.asarray(outputs.difficulty, dtype=str), return_inverse=True)
        tensors["difficulty"], about["tags"] = which.astype(np.int64), tags.tolist()
    contiguous = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    return write_bytes(_file(folder, split), save(contiguous, {"prunekit": json.dumps(about)}))


def read_outputs(folder: Path, split: str) -> ExitOutputs:
    """What :func:`save_outputs` wrote; ``texts`` are ``None``.

    Raises:
        RunError: it is not there, or is no such file.
    """
    file = _file(folder, split)
    try:
        with safe_open(file, "numpy") as opened:
            about = json.loads(opened.metadata()["prunekit"])
            if about["version"] != _VERSION:
                raise ValueError(f"version {about['version']}, expected {_VERSION}")
            values = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
        _check_saved(about, values)
        which = values.pop("difficulty", None)
        return ExitOutputs(
            **values,
            exit_layers=about["exit_layers"],
            difficulty=None if which is None else [about["tags"][i] for i in which],
            difficulties=about["difficulties"],
            digest=about["digest"],
        )
    except FileNotFoundError as error:
        raise RunError(f"there is no {file}", "apply the recipe: its evaluate stage writes it") from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise RunError(
            f"{file} does not hold what exits said: {error}", "remove it and apply the recipe again"
        ) from error


def _check_saved(about: dict[str, Any], values: dict[str, npt.NDArray[Any]]) -> None:
    """Raise ``ValueError`` for what :func:`save_outputs` never writes."""
    kinds = {"logits": (np.float32, 3), "certainty": (np.float32, 2)}
    for name, tensor in values.items():
        kind, dimensions = kinds.get(name, (np.int64, 1))
        if tensor.dtype != kind or tensor.ndim != dimensions:
            raise ValueError(f"{name} is {tensor.dtype} with {tensor.ndim} dimensions")
    layers, classes = about["exit_layers"], values["logits"].shape[2]
    if not isinstance(layers, list) or not all(type(layer) is int and layer > 0 for layer in layers):
        raise ValueError("exit_layers is no list of layers")
    limits = {"labels": classes, "dense_predictions": classes, "difficulty": len(about.get("tags") or ())}
    for name, limit in limits.items():
        if name in values and not ((values[name] >= 0) & (values[name] < limit)).all():
            raise ValueError(f"{name} holds numbers beyond 0 to {limit - 1}")
    if not (values["lengths"] > 0).all():
        raise ValueError("lengths holds numbers below 1")


def _file(folder: Path, split: str) -> Path:
    return folder / f"{split}.safetensors"
