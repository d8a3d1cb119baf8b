"""An engine for a model, or for a folder of one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError
from .backends import open_backend
from .engine import Engine
from .manifest import NAME, Manifest

if TYPE_CHECKING:
    from torch import nn


def load(
    source: str | os.PathLike[str] | nn.Module,
    *,
    threads: int | None = None,
    policy: dict[str, Any] | None = None,
    **settings: Any,
) -> Engine:
    """An engine that runs a model with exits.

    Args:
        source: a folder that ``prunekit export`` wrote, which is run without PyTorch; or a model's folder,
            or a model, which PyTorch runs on its device.
        threads: of the processor, for an exported folder; ``None``: as many as it has cores.
        policy: name and arguments of an exit policy, in place of the model's.
        settings: of :class:`Engine`: ``batch_size``, ``compact``, ``refill``, ``wait``.

    Raises:
        CheckpointError: the folder cannot be read, or its runtime is not installed, or the model has no
            exits.
    """
    if isinstance(source, (str, os.PathLike)) and (Path(source) / NAME).is_file():
        folder = Path(source)
        manifest = Manifest.read(folder)
        return Engine(
            open_backend(manifest, folder, threads),
            manifest.exit_layers,
            policy or manifest.policy,
            inputs=manifest.inputs,
            padding=manifest.padding,
            longest=manifest.longest,
            id_limits=manifest.id_limits,
            **settings,
        )
    return _of_model(source, threads, policy, settings)


def _of_model(
    source: Any, threads: int | None, policy: dict[str, Any] | None, settings: dict[str, Any]
) -> Engine:
    from ..architectures import id_limits, longest_input
    from ..checkpoints import load as load_model
    from ..exits import MultiExitForSequenceClassification
    from .backends.pytorch import PyTorchBackend
    from .graphs import example_inputs, padding_of
    from .segments import Segments

    if threads is not None:
        raise CheckpointError("PyTorch's threads are the process's", "call torch.set_num_threads")
    model = load_model(source) if isinstance(source, (str, os.PathLike)) else source
    if not isinstance(model, MultiExitForSequenceClassification):
        raise CheckpointError(
            f"{type(model).__name__} has no exits", "export it: one graph of any classifier is run"
        )
    return Engine(
        PyTorchBackend(Segments(model)),
        model.config.exit_layers,
        policy or model.config.exit_policy,
        inputs=tuple(example_inputs(model)),
        padding=padding_of(model),
        longest=longest_input(model),
        id_limits=id_limits(model),
        **settings,
    )
