"""One training run of a stage: a model, an objective, a learning rate and a length."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import TrainingArguments

from ... import console
from ...data import Examples, collator, score
from ...exits import MultiExitForSequenceClassification
from ...exits import gradient_equilibrium as equilibrium
from ...modes import frozen
from ..base import StageContext
from . import checkpoints
from .batches import EpochSampler, Rows, epoch_sampler
from .objectives import Objective
from .precision import autocast_dtype
from .predict import Floats, exit_logits, exit_scores
from .trainer import WEIGHTS, StageTrainer

logger = logging.getLogger(__name__)
# Records of the training loss in one training run.
_LOGS = 20


@dataclass(frozen=True)
class FitResult:
    """How a training run went.

    Attributes:
        steps: optimizer steps.
        score: mean over exits of the validation score of the weights kept; ``None`` if not evaluated.
        best_step: after which the kept weights were taken; ``None``: the last.
    """

    steps: int
    score: float | None = None
    best_step: int | None = None


@contextmanager
def dropout_of(model: nn.Module, probability: float | None) -> Iterator[None]:
    """Give all dropout layers of a model one probability for a block of code; ``None``: change nothing."""
    layers = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    before = [layer.p for layer in layers]
    try:
        for layer in layers:
            layer.p = layer.p if probability is None else probability
        yield
    finally:
        for layer, p in zip(layers, before, strict=True):
            layer.p = p


class Fitter:
    """Trains models on a stage's task; resumes from its own checkpoints.

    Args:
        context: of the stage.
        examples: to train on; the training examples when omitted.
    """

    def __init__(self, context: StageContext, examples: Examples | None = None) -> None:
        self.context = context
        self.examples = examples or Examples(context.task.train, context.task.lengths("train"))
        self.settings = context.training
        self.device = context.device()
        self.collate: Callable[[Any], dict[str, Tensor]] = collator(context.tokenizer)

    @cached_property
    def train_rows(self) -> Rows:
        """Training examples, then their copies."""
        return Rows(self.examples.rows)

    @cached_property
    def validation_rows(self) -> Rows:
        """Validation examples."""
        return Rows(self.context.task.validation)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps that take every training example once."""
        each = self.settings.batch_size * PartialState().num_processes
        return math.ceil(math.ceil(len(self.context.task.train) / each) / self.settings.gradient_accumulation)

    def autocast_of(self, model: nn.Module) -> torch.dtype | None:
        """What a model computes in, as it is now: see :func:`autocast_dtype`."""
        computing = self.context.computing
        quicker = None if computing is None else computing.bfloat16
        return autocast_dtype(self.settings.precision, self.device, model, quicker)

    def batches(self, count: int, purpose: str) -> Iterator[dict[str, Tensor]]:
        """At most ``count`` batches of training examples, drawn for a purpose, on the device."""
        seed, size = self.context.seed(purpose), self.settings.batch_size
        order = epoch_sampler(self.context.task.lengths("train"), size, seed, "off").order(0)
        for begin in range(0, min(len(order), count * size), size):
            batch = self.collate([self.train_rows[int(row)] for row in order[begin : begin + size]])
            yield {name: tensor.to(self.device) for name, tensor in batch.items()}

    def exit_logits(self, model: Any, split: str, autocast: torch.dtype | None = None) -> Floats:
        """Logits of every exit for every example of a split, float32 ``[E, N, C]``; by default in float32."""
        task, size = self.context.task, self.settings.eval_batch_size
        rows = self.validation_rows if split == "validation" else Rows(task.splits[split])
        return exit_logits(model, rows, task.lengths(split), self.collate, size, autocast)

    def validate(self, model: Any) -> dict[str, Any]:
        """Validation scores: see :func:`exit_scores`."""
        task = self.context.task
        logits = self.exit_logits(model, "validation", self.autocast_of(model))
        labels = task.validation.with_format("numpy")["labels"]
        return exit_scores(logits, labels, lambda true, said: score(task.task.metrics, true, said))

    def fit(
        self,
        model: MultiExitForSequenceClassification,
        objective: Objective,
        *,
        phase: str,
        learning_rate: float,
        epochs: float,
        select_best: bool = True,
        exits_learning_rate: float | None = None,
        gradient_equilibrium: bool = False,
        dropout: float | None = None,
        fixed: Sequence[nn.Module] = (),
    ) -> FitResult:
        """Train a model in place; it is left in evaluation mode.

        Args:
            model: multi-exit.
            objective: what is minimised.
            phase: names the training run within the stage, and its checkpoints.
            learning_rate: at the end of the warm-up; then it falls linearly to zero.
            epochs: may be a fraction; at least one step is taken, unless it is 0.
            select_best: evaluate at every epoch's end and keep the weights with the best mean score over
                exits, else keep the last.
            exits_learning_rate: of the exits, in the same way; ``None``: ``learning_rate``.
            gradient_equilibrium: balance the exits' gradients (Eq. 3).
            dropout: of all dropout layers during this training; ``None``: each as the model has it.
            fixed: modules of the model that are not trained, and run without dropout.

        Raises:
            TrainingError: a loss is not finite.
        """
        steps = math.ceil(round(epochs * self.steps_per_epoch, 6))
        if steps == 0:
            return FitResult(0)
        folder = self.context.folder / "work" / phase
        if PartialState().is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            checkpoints.last_to_go_on_from(folder)
        PartialState().wait_for_everyone()
        resumed = checkpoints.last_to_go_on_from(folder)
        done = int(resumed.name.rpartition("-")[2]) if resumed is not None else 0
        if resumed is not None:
            logger.info("%s goes on after step %d of %d", phase, done, steps)
        with (
            equilibrium(model, gradient_equilibrium),
            dropout_of(model, dropout),
            frozen(fixed),
            console.progress(phase, steps, done) as bar,
        ):
            trainer = self._trainer(
                model,
                objective,
                self._arguments(folder, learning_rate, steps, phase),
                phase,
                exits_learning_rate=exits_learning_rate,
                select_best=select_best,
                bar=bar,
            )
            if done >= steps:
                # The Trainer would take one step more.
                trainer.state = trainer.state.load_from_json(str(resumed / checkpoints.STATE))  # type: ignore[operator]
                trainer._load_from_checkpoint(str(resumed))
            else:
                trainer.train(resume_from_checkpoint=str(resumed) if resumed is not None else None)
                trainer.look_at_losses()
        best = trainer.state.best_global_step if select_best else None
        if best is not None and best != trainer.state.global_step:
            weights = load_file(checkpoints.checkpoint(folder, best) / WEIGHTS)
            model.load_state_dict(weights)
        model.zero_grad(set_to_none=True)
        model.eval()
        result = FitResult(steps, trainer.state.best_metric if select_best else None, best)
        # The Trainer refers to itself, so the optimizer's state would stay until it is collected.
        trainer.optimizer = None
        trainer.accelerator.free_memory()
        return result

    def clean(self, phase: str | None = None) -> None:
        """Remove the checkpoints of a training run, or of all, whose result is saved."""
        if PartialState().is_main_process:
            work = self.context.folder / "work"
            shutil.rmtree(work if phase is None else work / phase, ignore_errors=True)

    def _trainer(
        self,
        model: MultiExitForSequenceClassification,
        objective: Objective,
        arguments: TrainingArguments,
        phase: str,
        *,
        exits_learning_rate: float | None,
        select_best: bool,
        bar: console.Task,
    ) -> StageTrainer:
        context, settings = self.context, self.settings
        started = time.monotonic()

        def on_log(step: int, values: dict[str, Any]) -> None:
            seconds = round(time.monotonic() - started, 3)
            context.metrics.log(context.key, phase=phase, step=step, seconds=seconds, **values)
            if "score" in values:
                logger.info(
                    "%s, step %d of %d: score %.4f at the exits' mean, %.4f at the last",
                    phase, step, arguments.max_steps, values["score"], values["last"],
                )  # fmt: skip

        return StageTrainer(
            model,
            objective,
            arguments,
            rows=self.train_rows,
            sampler=self._sampler(phase),
            collate=self.collate,
            evaluate_model=self.validate if select_best else None,
            autocast=self.autocast_of(model),
            seed=context.seed(phase, "dropout"),
            name=f"{context.key}, {phase}" if phase != context.key else phase,
            checkpoint_seconds=settings.checkpoint_seconds,
            exits_learning_rate=exits_learning_rate,
            on_log=on_log,
            bar=bar,
        )

    def _sampler(self, phase: str) -> EpochSampler:
        """The order in which a training run takes the examples."""
        return epoch_sampler(
            self.examples.lengths,
            self.settings.batch_size * PartialState().num_processes,
            self.context.seed(phase, "order"),
            self.settings.group_by_length,
            parts=1 + self.examples.copies,
        )

    def _arguments(self, folder: Path, learning_rate: float, steps: int, phase: str) -> TrainingArguments:
        settings = self.settings
        arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=settings.batch_size,
            gradient_accumulation_steps=settings.gradient_accumulation,
            learning_rate=learning_rate,
            weight_decay=settings.weight_decay,
            warmup_steps=math.ceil(settings.warmup_ratio * steps),
            lr_scheduler_type="linear",
            max_grad_norm=settings.max_grad_norm,
            optim="adamw_torch_fused",
            seed=self.context.seed(phase) % 2**32,
            # "epoch" makes the Trainer remember the best step; when to save is StageTrainer's choice.
            save_strategy="epoch",
            metric_for_best_model="score",
            greater_is_better=True,
            logging_steps=max(1, steps // _LOGS),
            logging_nan_inf_filter=False,
            remove_unused_columns=False,
            dataloader_pin_memory=self.device.type == "cuda",
            disable_tqdm=True,
            report_to="none",
            log_level="error",
            use_cpu=self.device.type == "cpu",
        )
        if torch.cuda.device_count() > 1:
            # Several GPUs are for `accelerate launch`; the Trainer would copy the model to each by itself.
            arguments._n_gpu = 1
        return arguments
