"""A teacher that was asked once about every example of a split, and answers from disk.

Most of the time of distillation goes into the teacher's forward pass, which gives the same answers in
every epoch: without dropout they depend on the example alone, and padding changes them by rounding only.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..digests import SEAL, broken, seal
from ..errors import RunError
from ..files import locked
from .teachers import INPUTS, LiveTeacher, Teacher, TeacherOutput, computing

logger = logging.getLogger(__name__)
Collate = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]]
Precision = Literal["float32", "float16"]
Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.int64]
HIDDEN, LOGITS = "hidden.bin", "logits.bin"
# What must stay free on the disk beside a cache: checkpoints are written there too.
RESERVE = 1 << 30
# These change neither predictions nor hidden states.
_VOLATILE = ("_name_or_path", "transformers_version", "exit_policy", "dtype", "architectures", "use_cache")


@dataclass(frozen=True)
class CacheShape:
    """Sizes of a cache: ``[tokens, states, hidden_size]`` and, in float32, ``[examples, exits, classes]``.

    ``precision`` is that of the first, the hidden states.
    """

    tokens: int
    examples: int
    states: int
    hidden_size: int
    exits: int
    classes: int
    precision: Precision = "float32"

    @property
    def hidden(self) -> tuple[int, int, int]:
        """Shape of the hidden states."""
        return self.tokens, self.states, self.hidden_size

    @property
    def logits(self) -> tuple[int, int, int]:
        """Shape of the exits' logits."""
        return self.examples, self.exits, self.classes

    @property
    def nbytes(self) -> int:
        """Bytes on the disk."""
        states = np.dtype(self.precision).itemsize * math.prod(self.hidden)
        return states + 4 * math.prod(self.logits) + 8 * (self.examples + 1)


class CachedTeacher(Teacher):
    """Answers from a complete cache folder; :meth:`build` writes it first where needed.

    Args:
        folder: what :meth:`build` wrote.
        sealed: whether it was written just now: then its bytes are not read again.

    Raises:
        RunError: the folder is not a complete cache.
    """

    def __init__(self, folder: str | os.PathLike[str], sealed: bool = False) -> None:
        self.folder = Path(folder)
        if not sealed and (why := broken(self.folder)) is not None:
            raise _incomplete(self.folder, why)
        try:
            described = json.loads((self.folder / SEAL).read_text("utf-8"))
            self.key = str(described["key"])
            self.shape = CacheShape(**described["shape"])
            self.offsets: Integers = np.load(self.folder / "offsets.npy")
            self._hidden = _Reader(self.folder / HIDDEN, self.shape)
            logits = np.fromfile(self.folder / LOGITS, np.float32).reshape(self.shape.logits)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _incomplete(self.folder, str(error)) from error
        self._logits = torch.from_numpy(logits)

    @classmethod
    def build(
        cls,
        model: nn.Module,
        dataset: Any,
        lengths: Integers,
        collate: Collate,
        folder: str | os.PathLike[str],
        *,
        precision: Precision = "float32",
        autocast: torch.dtype | None = None,
        batch_size: int = 64,
        reserve: int = RESERVE,
        advance: Callable[[int], None] | None = None,
    ) -> CachedTeacher:
        """Open the cache of this teacher and this split under ``folder``, or write it.

        Args:
            model: the teacher; put in evaluation mode.
            dataset: an encoded split, whose column ``index`` counts its rows.
            lengths: unpadded tokens of each row, int64 ``[N]``.
            collate: pads rows to a batch.
            folder: holds one folder for each teacher, split, precision and autocast.
            precision: of the hidden states on the disk; ``"float16"`` takes half the room, and changes
                them by a 2,000th at most.
            autocast: what the teacher computes in, as it would if it were asked in training; ``None``: in
                float32, also where the caller is under autocast.
            reserve: bytes that must stay free on the disk.
            advance: called with the number of examples done, for a progress bar.

        Raises:
            RunError: the disk has no room, the folder cannot be written, or the hidden states are too
                large for float16.
        """
        key = fingerprint(model, dataset)
        target = cache_folder(folder, key, precision, autocast)
        if target.is_dir():
            try:
                cache = cls(target)
                if cache.key == key:
                    return cache
            except RunError as error:
                logger.warning("%s; it is written again", error.message)
        shape = cache_shape(model, dataset, lengths, collate, precision)
        check_room(shape.nbytes, Path(folder), reserve)
        unfinished = target.with_suffix(".partial")
        for old in (unfinished, target):
            shutil.rmtree(old, ignore_errors=True)
        try:
            unfinished.mkdir(parents=True)
            _write(model, dataset, lengths, collate, unfinished, shape, autocast, batch_size, advance)
            seal(unfinished, key=key, shape=asdict(shape))
            unfinished.rename(target)
        except RunError:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise RunError(
                f"cannot write the teacher cache {target}: {error.strerror or error}",
                "make room, or switch it off with `cache: off`",
            ) from error
        return cls(target, sealed=True)

    def __call__(self, batch: Mapping[str, Any], hidden_states: bool = False) -> TeacherOutput:
        rows: Tensor = batch["index"]
        mask: Tensor = batch["attention_mask"]
        device = mask.device
        logits = self._logits[rows.cpu()].transpose(0, 1).contiguous().to(device)
        states = self._padded(rows.cpu().numpy(), mask.cpu()).to(device).unbind(2) if hidden_states else None
        return TeacherOutput(logits, states)

    def _padded(self, rows: Integers, mask: Tensor) -> Tensor:
        """Hidden states as the model would have given them, zero at padding: ``[B, T, states, H]``."""
        starts = mask.argmax(dim=1).tolist()
        counts = mask.sum(dim=1).tolist()
        padded = torch.zeros(*mask.shape, *self.shape.hidden[1:])
        for place, (row, start, count) in enumerate(zip(rows.tolist(), starts, counts, strict=True)):
            first, last = self.offsets[row], self.offsets[row + 1]
            if last - first != count:
                raise ValueError(
                    f"example {row} has {count} tokens in the batch and {last - first} in the cache"
                )
            padded[place, start : start + count] = self._hidden.read(int(first), int(last))
        return padded


def _incomplete(folder: Path, why: str) -> RunError:
    return RunError(f"{folder} is not a complete teacher cache: {why}", "remove it: it is written again")


class _Reader:
    """Hidden states of an example at a time, read from the file: a contiguous stretch of it.

    Not a map of the file: at every first touch the system would read ahead, megabytes where an example takes
    a tenth of one, of a file that may be larger than the memory.

    Args:
        path: the file.
        shape: what it holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it has another size.
    """

    def __init__(self, path: Path, shape: CacheShape) -> None:
        self._dtype = np.dtype(shape.precision)
        self._row = shape.hidden[1:]
        self._row_bytes = math.prod(self._row) * self._dtype.itemsize
        self._file = path.open("rb", buffering=0)
        weakref.finalize(self, self._file.close)
        size, expected = os.fstat(self._file.fileno()).st_size, shape.tokens * self._row_bytes
        if size != expected:
            raise ValueError(f"{path.name} has {size} bytes, not {expected}")
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)

    def read(self, first: int, last: int) -> Tensor:
        """From one token to before another: ``[last - first, states, H]``, in the file's precision."""
        states = np.empty((last - first, *self._row), self._dtype)
        self._file.seek(first * self._row_bytes)
        if self._file.readinto(states.data) != states.nbytes:
            raise RunError(f"{self._file.name} was cut short", "remove it: it is written again")
        return torch.from_numpy(states)


def cache_folder(
    folder: str | os.PathLike[str], key: str, precision: Precision, autocast: torch.dtype | None = None
) -> Path:
    """Where under ``folder`` the cache with this :func:`fingerprint` is."""
    parts = [key[:24], precision, *([] if autocast is None else [f"of-{str(autocast).split('.')[-1]}"])]
    return Path(folder) / "-".join(parts)


def writing_alone(folder: str | os.PathLike[str]) -> AbstractContextManager[Any]:
    """No other process writes or removes caches under ``folder`` meanwhile; waits for one that does."""
    return locked(_lock(Path(folder)))


def forget_answers(folder: str | os.PathLike[str]) -> None:
    """Remove all caches under ``folder``, where there are any."""
    shutil.rmtree(folder, ignore_errors=True)
    _lock(Path(folder)).unlink(missing_ok=True)


def _lock(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def cache_shape(
    model: nn.Module, dataset: Any, lengths: Integers, collate: Collate, precision: Precision = "float32"
) -> CacheShape:
    """What a cache will hold, seen on the shortest example."""
    shortest = int(np.argmin(lengths))
    device = _device(model)
    teacher = LiveTeacher(model, partial(computing, device, None))
    output = teacher(_batch(dataset, [shortest], collate, device), hidden_states=True)
    states = cast("tuple[Tensor, ...]", output.hidden_states)
    exits, _, classes = output.exit_logits.shape
    width = states[0].shape[-1]
    return CacheShape(int(lengths.sum()), len(lengths), len(states), width, exits, classes, precision)


def cache_size(
    model: nn.Module, dataset: Any, lengths: Integers, collate: Collate, precision: Precision = "float32"
) -> int:
    """Bytes that the cache of a teacher and a split will take on the disk."""
    return cache_shape(model, dataset, lengths, collate, precision).nbytes


def free_bytes(folder: Path) -> int:
    """Room on the disk that holds ``folder``, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_room(nbytes: int, folder: Path, reserve: int = RESERVE) -> None:
    """Raise ``RunError`` where a cache of so many bytes does not fit, with a reserve for checkpoints."""
    free = free_bytes(folder)
    if nbytes + reserve > free:
        raise RunError(
            f"the teacher cache takes {nbytes / 2**30:.1f} GiB and {folder} has {free / 2**30:.1f} GiB free "
            f"({reserve / 2**30:.0f} GiB are kept for checkpoints)",
            "make room, name another output folder, halve it with `cache_precision: float16`, or switch the "
            "cache off with `cache: off`",
        )


def fingerprint(model: nn.Module, dataset: Any) -> str:
    """What a cache depends on: the teacher's configuration and weights and the split's token ids."""
    digest = hashlib.sha256()
    config = getattr(model, "config", None)
    if config is not None:
        described = {k: v for k, v in config.to_dict().items() if k not in _VOLATILE}
        digest.update(json.dumps(described, sort_keys=True, default=str).encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(
            tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data if tensor.dim() else b""
        )
        if not tensor.dim():
            digest.update(str(tensor.item()).encode())
    table = dataset.with_format("arrow")[:]
    for name in (*INPUTS, "index"):
        if name in table.column_names:
            column = table.column(name)
            digest.update(f"{name} {column.type} {len(column)};".encode())
            for chunk in column.chunks:
                values = chunk
                if hasattr(chunk, "value_lengths"):
                    digest.update(chunk.value_lengths().to_numpy(zero_copy_only=False).tobytes())
                    values = chunk.flatten()
                digest.update(values.to_numpy(zero_copy_only=False).tobytes())
    return digest.hexdigest()


def _write(
    model: nn.Module,
    dataset: Any,
    lengths: Integers,
    collate: Collate,
    folder: Path,
    shape: CacheShape,
    autocast: torch.dtype | None,
    batch_size: int,
    advance: Callable[[int], None] | None,
) -> None:
    if not np.array_equal(np.asarray(dataset.with_format("numpy")["index"]), np.arange(shape.examples)):
        raise ValueError("the column `index` of the split does not count its rows")
    offsets: Integers = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    np.save(folder / "offsets.npy", offsets)
    hidden = _mapped(folder / HIDDEN, shape.precision, shape.hidden)
    logits = _mapped(folder / LOGITS, "float32", shape.logits)
    largest = np.finfo(shape.precision).max
    device = _device(model)
    teacher = LiveTeacher(model, partial(computing, device, autocast))
    order = np.argsort(lengths, kind="stable")
    for begin in range(0, len(order), batch_size):
        rows = order[begin : begin + batch_size]
        batch = _batch(dataset, rows.tolist(), collate, device)
        output = teacher(batch, hidden_states=True)
        mask = batch["attention_mask"].bool().cpu()
        states = torch.stack([s.cpu() for s in output.hidden_states or ()], dim=2).numpy()
        if shape.precision == "float16" and np.abs(states[mask.numpy()]).max() > largest:
            raise RunError(
                f"the teacher has hidden states beyond {largest:.0f}, the largest number in float16",
                "cache_precision: float32 keeps them",
            )
        logits[rows] = output.exit_logits.transpose(0, 1).cpu().numpy()
        for place, row in enumerate(rows):
            hidden[offsets[row] : offsets[row + 1]] = states[place][mask[place].numpy()]
        if advance is not None:
            advance(len(rows))
    for array in (hidden, logits):
        cast("np.memmap[Any, Any]", array).flush()


def _mapped(path: Path, precision: Precision, shape: tuple[int, ...]) -> Floats:
    """A new file in memory, its room taken: writing to a map of a full disk would kill the process."""
    nbytes = np.dtype(precision).itemsize * math.prod(shape)
    with path.open("wb") as stream:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, nbytes)
        else:
            stream.truncate(nbytes)
    return np.memmap(path, precision, "r+", shape=shape)


def _batch(dataset: Any, rows: list[int], collate: Collate, device: torch.device) -> dict[str, Any]:
    batch = collate([dataset[row] for row in rows])
    return {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
