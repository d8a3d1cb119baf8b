"""What a folder of exported graphs says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CheckpointError

NAME = "prunekit_runtime.json"
_FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """How the engine runs a folder's graphs.

    Attributes:
        backend: what the files are for: ``openvino``, ``onnx`` or ``torch``.
        precision: ``float32``, ``float16``, ``bfloat16`` or ``int8``.
        graphs: file names, in order.
        exit_layers: the layer (from 1) after each graph.
        inputs: names of the first graph's inputs.
        padding: what they are filled up with; 0 where nothing is said.
        longest: tokens that the model takes; ``None``: any number.
        labels: names of the classes.
        policy: name and arguments of the exit policy; ``None``: all graphs, always.
        contexts: file of the graph that makes of a mask what layers take beside the hidden states.
        id_limits: how many ids the model has embeddings for, by input.
        unknown: id of what the tokenizer does not know; ``None``: there is none, or no tokenizer.
        special: the tokenizer's ids that are no words.
        differences: from PyTorch, as measured at the export.
        versions: of the packages that made the files.
    """

    backend: str
    precision: str
    graphs: list[str]
    exit_layers: list[int]
    inputs: list[str]
    padding: dict[str, int]
    longest: int | None
    labels: list[str]
    policy: dict[str, Any] | None
    contexts: str | None = None
    id_limits: dict[str, int] = field(default_factory=dict)
    unknown: int | None = None
    special: list[int] = field(default_factory=list)
    differences: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """As it is written."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Of a folder.

        Raises:
            CheckpointError: it has none, or one that is not understood.
        """
        path = folder / NAME
        try:
            found: Any = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise CheckpointError(
                f"{folder} has no {NAME}: {error.strerror or error}",
                "give a folder that `prunekit export` wrote",
            ) from error
        except ValueError as error:
            raise CheckpointError(f"{path} is not JSON: {error}", "export the model again") from error
        if not isinstance(found, Mapping) or found.get("format") != _FORMAT:
            raise CheckpointError(
                f"{path} is not of format {_FORMAT}", "export the model again with this version of prunekit"
            )
        try:
            manifest = cls(**{key: value for key, value in found.items() if key != "format"})
        except TypeError as error:
            raise CheckpointError(f"{path} is not complete: {error}", "export the model again") from error
        manifest._check(folder)
        return manifest

    def _check(self, folder: Path) -> None:
        """Hold it against what it may say: it comes from a file.

        Raises:
            CheckpointError: naming what is wrong.
        """
        lists: dict[str, tuple[Any, type]] = {
            "graphs": (self.graphs, str),
            "exit_layers": (self.exit_layers, int),
            "inputs": (self.inputs, str),
            "labels": (self.labels, str),
            "special": (self.special, int),
        }
        wrong = [
            name
            for name, (values, kind) in lists.items()
            if not isinstance(values, list) or any(type(value) is not kind for value in values)
        ]
        wrong += [
            name
            for name in ("padding", "id_limits")
            if not isinstance(getattr(self, name), dict)
            or any(type(value) is not int for value in getattr(self, name).values())
        ]
        wrong += [
            name for name in ("longest", "unknown") if type(getattr(self, name)) not in (int, type(None))
        ]
        policy: Any = self.policy
        if policy is not None and not (isinstance(policy, dict) and isinstance(policy.get("name"), str)):
            wrong.append("policy")
        if type(self.contexts) not in (str, type(None)):
            wrong.append("contexts")
        if wrong:
            raise CheckpointError(
                f"{folder / NAME}: {', '.join(wrong)} cannot be what it says", "export the model again"
            )
        if len(self.graphs) != len(self.exit_layers) or not self.graphs:
            raise CheckpointError(f"{folder / NAME}: graphs and exit_layers differ in length")
        for name in [*self.graphs, *filter(None, [self.contexts])]:
            if Path(name).name != name or not (folder / name).is_file():
                raise CheckpointError(f"{folder} has no file {name!r}, which {NAME} names", "export it again")
