"""Pruning while ``transformers.Trainer`` trains."""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .arguments import number, one_of, whole
from .budgets import Budget
from .errors import CheckpointError, PrunekitError
from .granularities import Granularity
from .granularities.rank import RankGroup
from .groups import Group, Slice
from .pruner import Pruner, Spec, all_groups
from .schedulers import Scheduler
from .scorers import Scorer
from .scorers.base import Loss

logger = logging.getLogger(__name__)

# Under this name the pruner's state is in a checkpoint's trainer_state.json.
STATE = "prunekit"


class PruningCallback(TrainerCallback):
    """Slims the model that a ``transformers.Trainer`` trains, step by step, as it trains it.

    The model is scored and cut after optimizer step ``start``, then ``steps - 1`` times more, ``every`` so
    many. The optimizer goes on with what is left of its state, and so does the learning-rate schedule. What
    is scored is drawn from the Trainer's own training data, and collated as it collates them: of step ``s``
    the first ``score_batches`` batches of ``torch.randperm(len(dataset))``, from a generator that begins with
    ``args.seed + s`` (of a data set without a length, its first batches). Training sees the batches that it
    would see without this.

    ``trainer.train(resume_from_checkpoint=...)`` goes on from a checkpoint in the middle, to the same
    weights, bit by bit, as a run that was not interrupted: give it the model as it was before pruning (or as
    the checkpoint has it) and the same callback. With ``load_best_model_at_end``, only checkpoints of the
    model's last size are compared: those before are larger. Give it to the Trainer's constructor
    (``callbacks=[...]``), or it cannot make the model fit a checkpoint.

    Args:
        granularities, scorer, budget, scheduler, steps: as of :class:`~prunekit.Pruner`.
        every: optimizer steps, or epochs, between two steps of the pruner.
        start: when the first one is; ``0``: before training. Default: ``every``.
        unit: of ``every`` and ``start``; part of an epoch may be given.
        score_batches: how many batches units are scored on.
        loss: ``loss(model, batch)`` gives the scalar that scores are about, or one loss for every exit;
            default: ``model(**batch).loss``. For the Trainer's own:
            ``loss=lambda model, batch: trainer.compute_loss(model, batch)``.

    Attributes:
        pruner: once training has begun.

    Raises:
        PrunekitError: when training begins: it ends before the last step of the pruner, or runs in several
            processes.
        BudgetError: when training begins: the budget does not fit the model.
    """

    def __init__(
        self,
        granularities: Sequence[Spec | Granularity] | Spec | Granularity,
        scorer: Spec | Scorer = "taylor",
        *,
        budget: Spec | Budget,
        scheduler: Spec | Scheduler = "linear",
        steps: int = 1,
        every: float,
        start: float | None = None,
        unit: Literal["steps", "epochs"] = "steps",
        score_batches: int = 16,
        loss: Loss | None = None,
    ) -> None:
        place = "PruningCallback"
        self.granularities = granularities
        self._parts: dict[str, Any] = {
            "scorer": scorer,
            "budget": budget,
            "scheduler": scheduler,
            "steps": whole(steps, f"{place}.steps", least=1, error=PrunekitError),
        }
        self.unit = one_of(unit, f"{place}.unit", ("steps", "epochs"), error=PrunekitError)
        self.every = number(every, f"{place}.every", above=0, error=PrunekitError)
        self.start = number(every if start is None else start, f"{place}.start", least=0, error=PrunekitError)
        self.score_batches = whole(score_batches, f"{place}.score_batches", least=1, error=PrunekitError)
        self.loss: Loss = loss or (lambda model, batch: cast(Tensor, model(**batch).loss))
        self.pruner: Pruner | None = None
        self._due: list[int] = []

    def on_init_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let the model take the weights of a checkpoint that was slimmed before."""
        kwargs["model"].register_load_state_dict_pre_hook(_Hook(self))

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Check everything that can be checked, and take the steps that are due before training."""
        model = kwargs["model"]
        if args.world_size > 1 or args.deepspeed or args.fsdp:
            raise PrunekitError(
                "PruningCallback: several processes, DeepSpeed and FSDP keep parameters where pruning cannot "
                "reach them",
                "train in one process, or prune between two trainings with prunekit.Pruner",
            )
        self._due = self._steps(args, state, kwargs["train_dataloader"])
        saved = _states(state).get(STATE)
        if saved is not None or self.pruner is None or self.pruner.model is not model:
            self.pruner = Pruner(model, self.granularities, state=saved, **self._parts)
        self._prune(args, state, kwargs)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Score and cut, where a step is due."""
        self._prune(args, state, kwargs)

    def _steps(self, args: TrainingArguments, state: TrainerState, batches: Any) -> list[int]:
        """After which optimizer steps the model is cut."""
        scale = 1.0
        if self.unit == "epochs":
            try:
                length = len(batches)
            except TypeError:
                raise PrunekitError(
                    "PruningCallback: the training data have no length, so there are no epochs to count",
                    "say every and start in optimizer steps: unit='steps'",
                ) from None
            scale = max(1, math.ceil(length / args.gradient_accumulation_steps))
        due = [round((self.start + i * self.every) * scale) for i in range(self._parts["steps"])]
        if due[-1] > state.max_steps:
            raise PrunekitError(
                f"PruningCallback: the last of {len(due)} steps is due after {due[-1]} optimizer steps, but "
                f"training ends after {state.max_steps}",
                "train for longer, or begin earlier (start), in shorter intervals (every), with fewer steps",
            )
        return due

    def _prune(self, args: TrainingArguments, state: TrainerState, kwargs: Mapping[str, Any]) -> None:
        pruner = self.pruner
        while pruner is not None and not pruner.done and self._due[pruner.steps_done] <= state.global_step:
            if pruner.scorer.needs_data:
                batches = self._batches(kwargs["train_dataloader"], args.seed + state.global_step)
                pruner.score((_moved(batch, args.device) for batch in batches), self.loss)
            pruner.step(optimizer=kwargs["optimizer"])
            _states(state)[STATE] = pruner.state_dict()
            # What was best so far was larger, and could not be loaded into the model that is left.
            state.best_metric = state.best_model_checkpoint = state.best_global_step = None
            logger.info("after %d optimizer steps: %r", state.global_step, pruner)

    def _batches(self, loader: Any, seed: int) -> Iterator[Any]:
        """Batches of the Trainer's data, by a loader of our own, so that its own goes on undisturbed."""
        generator = torch.Generator().manual_seed(seed)
        data, collate = loader.dataset, loader.collate_fn
        size = getattr(loader, "total_batch_size", None) or loader.batch_size
        sampler = None
        if not isinstance(data, IterableDataset):
            sampler = torch.randperm(len(data), generator=generator)[: size * self.score_batches].tolist()
        own: DataLoader[Any] = DataLoader(
            data, batch_size=size, sampler=sampler, collate_fn=collate, generator=generator
        )
        return islice(own, self.score_batches)

    def _narrow(self, model: nn.Module, state: Mapping[str, Tensor], prefix: str, *rest: Any) -> None:
        """Before weights are loaded: cut the model to the shapes that they have."""
        own = model.state_dict()
        weights = {name[len(prefix) :]: w for name, w in state.items() if name.startswith(prefix)}
        if any(name not in own or own[name].shape != weight.shape for name, weight in weights.items()):
            narrow(model, all_groups(model, self.granularities)[1], weights)


class _Hook:
    """Calls a callback as long as there is one; copies of the model, pickled ones too, do without."""

    def __init__(self, callback: PruningCallback) -> None:
        self._callback = weakref.ref(callback)

    def __call__(self, *args: Any) -> None:
        callback = self._callback()
        if callback is not None:
            callback._narrow(*args)

    def __reduce__(self) -> tuple[Any, ...]:
        return _no_hook, ()


def _no_hook() -> Callable[..., None]:
    return _nothing


def _nothing(*args: Any) -> None:
    return None


def narrow(model: nn.Module, groups: Sequence[Group], weights: Mapping[str, Tensor]) -> None:
    """Slim a model to the sizes that the weights of a slimmed one have; which units stay is no matter.

    Args:
        model: as it was made.
        groups: its groups.
        weights: by the names of a state dict; some may be missing.

    Raises:
        CheckpointError: the weights are of a larger model.
    """
    sizes = {group.name: size for group in groups if (size := _size_in(group, model, groups, weights))}
    for group in groups:
        if sizes.get(group.name, 0) > group.size:
            raise CheckpointError(
                f"{group.name} has {group.size} units in the model and {sizes[group.name]} in the checkpoint "
                "of before the model was pruned so far",
                "load it into a fresh model",
            )
    for group in groups:
        if sizes.get(group.name, group.size) < group.size:
            group.keep(torch.arange(sizes[group.name]))


def _size_in(
    group: Group, model: nn.Module, groups: Sequence[Group], weights: Mapping[str, Tensor]
) -> int | None:
    """Units that a group has in a checkpoint; ``None`` if it does not say."""
    if isinstance(group, RankGroup):
        place = next(name for name, module in model.named_modules() if module is group.words)
        factor, matrix = (weights.get(f"{place}.{name}") for name in ("embedding.weight", "weight"))
        if factor is not None:
            return factor.shape[1]
        return None if matrix is None else min(matrix.shape)
    names = {id(p): name for name, p in model.named_parameters(remove_duplicate=False)}
    others = {_dimension(piece) for other in groups if other is not group for piece in other.slices}
    for piece in group.slices:
        name, dim = names[id(piece.tensor)], piece.dim
        if name in weights and _dimension(piece) not in others:
            return group.size - (piece.tensor.shape[dim] - weights[name].shape[dim]) // piece.width
    return None


def _dimension(piece: Slice) -> tuple[int, int]:
    """Which dimension of which parameter a slice is of."""
    return id(piece.tensor), piece.dim % piece.tensor.dim()


def _states(state: TrainerState) -> dict[str, Any]:
    """What is kept with every checkpoint, by name; a mapping once the Trainer has made its state."""
    return cast("dict[str, Any]", state.stateful_callbacks)


def _moved(batch: Any, device: torch.device) -> Any:
    """Tensors of a batch on the device of the model."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {name: _moved(value, device) for name, value in batch.items()}
    if isinstance(batch, list | tuple):
        return type(batch)(_moved(value, device) for value in batch)
    return batch
