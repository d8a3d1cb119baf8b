"""The small files of a run, read as what they are: what is wrong in one is said in one message."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..digests import Digests, FileDigest, InsidePath
from ..errors import RunError
from ..files import write_json
from ..text import shown

DONE, INFO, KEPT, DATA, COMPUTING = "done.json", "run.json", "kept.json", "data.json", "computing.json"
_MOST_WORDS = 200


class DamagedRun(RunError):
    """A small file of a run that is not what prunekit wrote."""


class Record(BaseModel):
    """Base of the files' contents. Keys of later versions are left alone."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    def write(self, file: Path) -> None:
        """Write it, whole or not at all."""
        write_json(file, self.model_dump())


class StageDone(Record):
    """``done.json`` of a stage, which also holds what the stage has to say of itself.

    Attributes:
        models: role -> folder, below the run's.
        files: all that the stage published, below the run's folder; ``None``: by a version that did not say.
        reads: role -> :func:`model_digest` of the models that it was made from.
    """

    seconds: float = Field(ge=0)
    models: dict[str, InsidePath]
    files: Digests | None = None
    reads: dict[str, str] = {}

    def digest_of(self, role: str) -> str:
        """Of the model that the stage gave a role, one digest."""
        return model_digest(self.models[role], self.files or {})


class Info(Record):
    """``run.json``: what made the run, for people to read."""

    command: str = ""
    later_commands: list[str] = []
    seed: int = 0
    versions: dict[str, str] = {}
    machine: dict[str, Any] = {}


class Kept(Record):
    """``kept.json``: dotted key -> value, of what a grid chose."""

    settings: dict[str, Any]


class SplitDigest(Record):
    """A split: how many examples, SHA-256 of their texts and labels, and of their token ids."""

    examples: int
    sha256: str
    tokens: str


class StartModel(Record):
    """A model that is begun with: a folder's files, or the hub's commit."""

    name: str
    commit: str | None = None
    files: dict[str, FileDigest] | None = None


class DataRecord(Record):
    """``data.json``: the examples and models that a run began with.

    Attributes:
        asked: digest of the settings that say which.
        labels: names of the classes.
        models: the recipe's key -> what it names, of models that are not built in.
    """

    asked: str
    labels: list[str]
    splits: dict[str, SplitDigest]
    models: dict[str, StartModel]


class ComputingRecord(Record):
    """``computing.json``: how a run computes, decided when it begins and kept however often it goes on.

    Attributes:
        processes: that train together.
        threads: of the processor, by stage.
        bfloat16: whether ``precision: auto`` may take it here.
        versions: of what computes.
        hardware: that computes.
        caches: by stage: whether ``cache: auto`` keeps a teacher's answers.
    """

    processes: int
    threads: dict[str, int]
    bfloat16: bool
    versions: dict[str, str]
    hardware: dict[str, str | None]
    caches: dict[str, bool] = {}


class TrialScore(Record):
    """``validation.json`` of a trial."""

    score: float


R = TypeVar("R", bound=Record)


def read_record(file: Path, kind: type[R], mend: str) -> R:
    """What a small file of a run holds.

    Args:
        file: the file.
        kind: of its contents.
        mend: what to do where it is damaged.

    Raises:
        DamagedRun: it cannot be read, or holds something else.
    """
    try:
        return kind.model_validate_json(file.read_bytes())
    except OSError as error:
        raise DamagedRun(f"cannot read {file}: {error.strerror or error}", mend) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        words = " ".join(f"{place}: {first['msg']}".removeprefix(": ").split())[:_MOST_WORDS]
        raise DamagedRun(f"{file} is damaged: {shown(words, keep='')}", mend) from error


def model_digest(folder: str, files: Digests) -> str:
    """One digest of all files below a folder, by what each holds."""
    lines = [f"{path} {files[path].sha256}\n" for path in sorted(files) if path.startswith(f"{folder}/")]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
