"""``transformers.Trainer``, made to minimise an objective and to be killed and resumed to the same bits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from ... import console
from ...distill.teachers import computing
from ...errors import RunError, TrainingError, first_line
from ..base import derive_seed
from . import checkpoints
from .batches import EpochSampler, Rows
from .objectives import Objective

logger = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
# A GPU is not waited for at every step only to look at its loss.
_LOSSES_LOOKED_AT = 16


class StageTrainer(Trainer):
    """Trains a multi-exit model on an objective.

    All randomness of a step comes from the seed and the step's number, and the order of an epoch from the
    seed and the epoch: a resumed run needs no state of random number generators.

    Args:
        model: multi-exit, trained in place.
        objective: gives the loss's parts.
        arguments: of the Trainer.
        rows, sampler, collate: the training examples.
        evaluate_model: the validation scores of the model as it is; ``"score"`` chooses the best. ``None``:
            nothing is evaluated, and the last weights are kept.
        autocast: what to compute in, ``None`` for float32.
        seed: of dropout.
        name: of the training run, in messages.
        checkpoint_seconds: write a checkpoint when so much time has passed.
        exits_learning_rate: of the exits; ``None``: the arguments' learning rate.
        on_log: called with the step and what was measured.
        bar: shows how far it is.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        arguments: TrainingArguments,
        *,
        rows: Rows,
        sampler: EpochSampler,
        collate: Callable[[list[dict[str, Tensor]]], dict[str, Tensor]],
        evaluate_model: Callable[[nn.Module], dict[str, Any]] | None,
        autocast: torch.dtype | None,
        seed: int,
        name: str,
        checkpoint_seconds: float,
        exits_learning_rate: float | None,
        on_log: Callable[[int, dict[str, Any]], None],
        bar: console.Task,
    ) -> None:
        super().__init__(model=model, args=arguments, train_dataset=rows, data_collator=collate)
        self.objective: Objective = objective
        self.sampler = sampler
        self.evaluate_model = evaluate_model
        self.autocast = autocast
        self.step_seed = seed
        self.name = name
        self.exits_learning_rate = exits_learning_rate
        self.on_log = on_log
        # Each call of training_step gives the mean over its batch.
        self.loss_is_scaled_for_ga = False
        self.model_accepts_loss_kwargs = False
        self._waiting: list[tuple[int, Tensor, dict[str, Tensor]]] = []
        self._sums: dict[str, Tensor] = {}
        self._summed = 0
        self._at_step, self._micro = -1, 0
        self.remove_callback(PrinterCallback)
        self.add_callback(_Flow(self, checkpoint_seconds, bar))

    # -- what is trained

    def create_optimizer(self, *arguments: Any, **options: Any) -> torch.optim.Optimizer:
        """The Trainer's, with groups of their own for the exits where their learning rate differs."""
        optimizer = super().create_optimizer(*arguments, **options)
        if self.exits_learning_rate is not None:
            model: Any = self.model
            exits = {id(parameter) for parameter in model.exits.parameters()}
            for group in list(optimizer.param_groups):
                own = [parameter for parameter in group["params"] if id(parameter) in exits]
                group["params"] = [parameter for parameter in group["params"] if id(parameter) not in exits]
                optimizer.add_param_group({**group, "params": own, "lr": self.exits_learning_rate})
        return optimizer

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """One batch forward and backward, with this step's own random numbers."""
        self._micro = self._micro + 1 if self.state.global_step == self._at_step else 0
        self._at_step = self.state.global_step
        torch.manual_seed(
            derive_seed(self.step_seed, self.state.global_step, self._micro, self.args.process_index)
        )
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The objective's loss; a loss that is not finite ends the training."""
        progress = self.state.global_step / max(self.state.max_steps, 1)
        parts = self.objective.parts(model, inputs, progress)
        loss = torch.stack([part.sum() for part in parts.values()]).sum()
        parts = {part: value.detach() for part, value in parts.items()}
        self._waiting.append((self.state.global_step + 1, loss.detach(), parts))
        if loss.device.type != "cuda" or len(self._waiting) >= _LOSSES_LOOKED_AT:
            self.look_at_losses()
        for part, value in parts.items():
            total = value.sum()
            self._sums[part] = self._sums[part] + total if part in self._sums else total
        self._summed += 1
        return loss

    def look_at_losses(self) -> None:
        """Raise ``TrainingError`` if the loss of a step since the last look is not finite."""
        waiting, self._waiting = self._waiting, []
        for step, loss, parts in waiting:
            if not bool(torch.isfinite(loss)):
                bad = self.objective.first_bad(parts) or f"the loss is {float(loss)}"
                raise TrainingError(
                    f"{self.name}, step {step} of {self.state.max_steps}: {bad}",
                    "lower the stage's learning_rate, or look at the data; training.precision=float32 "
                    "rules out rounding",
                )

    def compute_loss_context_manager(self) -> Any:
        """Autocast, if any; the model's own forward stays as it is."""
        return self.autocast_smart_context_manager()

    def autocast_smart_context_manager(
        self, cache_enabled: bool | None = True
    ) -> AbstractContextManager[Any]:
        """Autocast in the precision that was asked for."""
        return computing(self.args.device, self.autocast)

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        return self.sampler

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted here: it would walk over all modules at every step."""
        return 0

    # -- what is measured

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Validation scores, under the names the Trainer looks for."""
        self.look_at_losses()
        assert self.evaluate_model is not None
        model = self.accelerator.unwrap_model(self.model)
        scores = self.evaluate_model(model)
        model.train()
        self.on_log(self.state.global_step, {"kind": "evaluate", **scores})
        return {f"eval_{name}": value for name, value in scores.items()}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Mean loss of each part since the last call, and the learning rate."""
        self.look_at_losses()
        if "learning_rate" in logs and self._summed:
            means = {name: float(total) / self._summed for name, total in self._sums.items()}
            self._sums, self._summed = {}, 0
            self.on_log(
                self.state.global_step,
                {
                    "kind": "train",
                    "loss": means,
                    "learning_rate": logs["learning_rate"],
                    "epoch": self.state.epoch,
                },
            )

    # -- checkpoints

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        better = super()._determine_best_metric(metrics, trial)
        # The best weights are a checkpoint's, and so is the knowledge that they are the best.
        self.control.should_save = self.control.should_save or better
        return better

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self.look_at_losses()
        folder = Path(str(self.args.output_dir))
        step = self.state.global_step
        try:
            super()._save_checkpoint(model, trial)
            if self.args.should_save:
                checkpoints.mark_complete(checkpoints.checkpoint(folder, step))
                best = self.state.best_global_step
                checkpoints.remove_others(folder, {step} if best is None else {step, best})
        except (OSError, SafetensorError, RuntimeError) as error:
            # RuntimeError: torch.save's, of a disk that is full.
            reason = getattr(error, "strerror", None) or error
            raise RunError(
                f"{self.name}: cannot write a checkpoint to {folder}: {reason}",
                "make room, then apply the recipe again: it goes on from the last checkpoint",
            ) from error

    def _save(self, output_dir: str | None = None, state_dict: Mapping[str, Tensor] | None = None) -> None:
        """Weights alone: the stage knows the rest."""
        if not self.args.should_save or output_dir is None:
            return
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        assert self.model is not None
        weights = state_dict if state_dict is not None else self.model.state_dict()
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        with _loading(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with _loading(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _save_rng_state(self, output_dir: str) -> None:
        """Nothing: see the class."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Nothing: see the class."""


@contextmanager
def _loading(checkpoint: str | None) -> Iterator[None]:
    """Of a checkpoint: weights and numbers alone are read, whatever else a file holds is not run."""
    try:
        yield
    except Exception as error:  # torch and transformers each raise their own
        raise RunError(
            f"the checkpoint {checkpoint} does not hold what it should: {first_line(error)[:200]}",
            "remove this folder: training then goes on from the checkpoint before, or from its beginning",
        ) from error


class _Flow(TrainerCallback):
    """When to evaluate and to write a checkpoint, which epoch's order to take, and the progress bar.

    It comes after the Trainer's own flow, and has the last word.
    """

    def __init__(self, trainer: StageTrainer, seconds: float, bar: console.Task) -> None:
        self.trainer = trainer
        self.seconds = seconds
        self.bar = bar
        self.written = time.monotonic()
        self.steps_per_epoch = 1

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count an epoch's steps."""
        self.written = time.monotonic()
        self.steps_per_epoch = -(-len(kwargs["train_dataloader"]) // args.gradient_accumulation_steps)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take the epoch's order, also where it is begun in its middle."""
        self.trainer.sampler.set_epoch(state.global_step // self.steps_per_epoch)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Perhaps a checkpoint."""
        self.bar.advance()
        at_end = state.global_step % self.steps_per_epoch == 0 or state.global_step >= state.max_steps
        # At an epoch's end the evaluation comes first: a run resumed from here must not miss it. Processes
        # that train together must decide alike, so they do not look at their clocks.
        if not at_end and args.world_size == 1 and self._due():
            control.should_save = True
        return control

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Evaluate; save if it is time (the best is saved anyway), but not at the very end."""
        control.should_evaluate = self.trainer.evaluate_model is not None
        ended = state.global_step >= state.max_steps
        control.should_save = not ended and (args.world_size > 1 or self._due())
        return control

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remember when."""
        self.written = time.monotonic()

    def _due(self) -> bool:
        return time.monotonic() - self.written >= self.seconds
