"""What every exit of a model says about a split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor, nn

from ...distill import model_inputs
from ...distill.teachers import computing
from .batches import Rows

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


def exit_logits(
    model: nn.Module,
    rows: Rows,
    lengths: Integers,
    collate: Callable[[list[dict[str, Tensor]]], dict[str, Tensor]],
    batch_size: int,
    autocast: torch.dtype | None = None,
) -> Floats:
    """Logits of every exit for every row: float32 ``[E, N, C]``; see :func:`exit_answers`."""
    return exit_answers(model, rows, lengths, collate, batch_size, autocast)[0]


@torch.no_grad()
def exit_answers(
    model: nn.Module,
    rows: Rows,
    lengths: Integers,
    collate: Callable[[list[dict[str, Tensor]]], dict[str, Tensor]],
    batch_size: int,
    autocast: torch.dtype | None = None,
) -> tuple[Floats, Floats | None]:
    """What every exit says of every row: logits ``[E, N, C]``, certainty ``[E, N]`` if it says so; float32.

    Examples of similar length share a batch. Where several processes train, each takes its part and all
    get the whole. The model is left in evaluation mode.
    """
    model.eval()
    state = PartialState()
    device = next(model.parameters()).device
    order = np.argsort(-lengths, kind="stable")
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    done: list[tuple[Integers, Floats, Floats | None]] = []
    for places in batches[state.process_index :: state.num_processes]:
        batch = model_inputs(collate([rows[int(row)] for row in places]))
        with computing(device, autocast):
            output = model(**{k: v.to(device) for k, v in batch.items()}, all_exits=True)
        sure = output.exit_certainty
        said = output.exit_logits.float().cpu().numpy()
        done.append((places, said, None if sure is None else sure.float().cpu().numpy()))
    if state.num_processes > 1:
        done = gather_object(done)
    exits, _, classes = done[0][1].shape
    logits = np.empty((exits, len(lengths), classes), np.float32)
    certainty = None if done[0][2] is None else np.empty((exits, len(lengths)), np.float32)
    for places, values, sures in done:
        logits[:, places] = values
        if certainty is not None and sures is not None:
            certainty[:, places] = sures
    return logits, certainty


def exit_scores(
    logits: Floats, labels: Integers, score: Callable[[Integers, Integers], Mapping[str, float]]
) -> dict[str, Any]:
    """Validation scores of every exit.

    Returns:
        ``score``, the mean over exits of the main metric, which chooses checkpoints; ``last``, that of the
        last exit; and every metric with its value at each exit.
    """
    every = [score(labels, at_exit.argmax(axis=1)) for at_exit in logits]
    main = next(iter(every[0]))
    return {
        "score": float(np.mean([scores[main] for scores in every])),
        "last": float(every[-1][main]),
        **{name: [float(scores[name]) for scores in every] for name in every[0]},
    }
