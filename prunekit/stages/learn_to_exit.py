"""Learning to exit: a layer that says of every exit how sure it is that it is right (BERxiT)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from .. import console
from ..errors import RecipeError, TrainingError
from . import register
from .base import Stage, StageConfig, StageContext

if TYPE_CHECKING:
    from ..exits import MultiExitForSequenceClassification
    from ..exits.certainty import ExitCertainty
    from ..planning import Plan, Work
    from ..recipes import Recipe
    from .training.fit import Fitter

logger = logging.getLogger(__name__)
_MOST_STEPS = 300


class LearnToExitConfig(StageConfig):
    """Settings of the stage."""

    examples: int = Field(
        20_000,
        ge=1,
        le=1_000_000_000,
        description="training examples it learns from, at most; what their exits read is kept in memory, "
        "exits x examples x width x 4 bytes",
    )
    penalty: float = Field(1e-3, ge=0, description="of the layer's squared weights, beside the loss")


@register("learn_to_exit")
class LearnToExit(Stage):
    """Train one layer, shared by all exits, to tell whether an exit is right; the policy `learned` reads it.

    It sees what the exit reads, and its output is a certainty from 0 to 1. The loss is the mean squared error
    with 1 where the exit's prediction is the label, else 0, summed over the exits; backbone and exits stay
    as they are (Xin et al., "BERxiT: Early Exiting for BERT with Better Fine-Tuning and Extension to
    Regression", EACL 2021, section 4).

    What the exits read does not change while the layer learns, so the model runs once over the examples, and
    the loss is brought to its minimum by L-BFGS: no learning rate has to be found.
    """

    Config = LearnToExitConfig
    needs = ("model",)
    config: LearnToExitConfig

    def plan(self, plan: Plan) -> list[Work]:
        """No training of the model.

        Raises:
            RecipeError: the model has one exit.
        """
        layers = plan.model.config.exit_layers
        if len(layers) == 1:
            raise RecipeError(
                f"exits.layers: the model has one exit, on layer {layers[0]}, and nobody can leave before it",
                "put a stage before this one that gives it more: finetune with exits: recipe, train_exits, "
                "or assistant",
            )
        plan.model.add_exit_certainty()
        return []

    def inputs(self, recipe: Recipe, key: str) -> dict[str, Any]:
        """The exits are the model's own."""
        inputs = super().inputs(recipe, key)
        del inputs["exits"]
        return inputs

    def run(self, context: StageContext) -> None:
        """Fit the layer; say how well it tells right from wrong on the validation examples."""
        from .training.fit import Fitter

        fitter = Fitter(context)
        model = context.load("model")
        layer = model.add_exit_certainty()
        rows = np.random.default_rng(context.seed("examples")).permutation(len(fitter.train_rows))
        read, right = _what_exits_read(context, fitter, model, np.sort(rows[: self.config.examples]))
        shares = [round(float(share), 4) for share in right.mean(dim=1)]
        logger.info("shares of the training examples that the exits have right: %s", shares)
        try:
            steps = fit_certainty(layer, read, right, self.config.penalty)
        except ValueError as error:
            raise TrainingError(f"{context.key}: {error}", "look at the model of the stage before") from error
        context.publish(model, "model")
        context.summary.update(iterations=steps, **_told(context, fitter, model))


def certainty_loss(certainty: Tensor, right: Tensor) -> Tensor:
    """Squared error of certainty ``[E, N]`` with being right, 1 or 0 ``[E, N]``: mean over N, sum over E."""
    return (certainty - right).square().mean(dim=1).sum()


def fit_certainty(layer: ExitCertainty, read: Tensor, right: Tensor, penalty: float) -> int:
    """Bring a layer to the minimum of :func:`certainty_loss` and a penalty of its squared weights.

    Args:
        layer: changed in place.
        read: what the exits read, ``[E, N, H]``.
        right: 1 where their predictions are the labels, else 0, float ``[E, N]``.
        penalty: times the sum of the squared weights; the bias is free.

    Returns:
        How often the loss was computed.

    Raises:
        ValueError: the loss is not finite.
    """
    calls = 0
    optimizer = torch.optim.LBFGS(
        layer.parameters(), max_iter=_MOST_STEPS, line_search_fn="strong_wolfe", tolerance_grad=1e-6
    )

    def loss() -> Tensor:
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        value = certainty_loss(layer(read), right) + penalty * layer.linear.weight.square().sum()
        if not bool(torch.isfinite(value)):
            raise ValueError(f"the certainty's loss is {value.item()}")
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    layer.zero_grad(set_to_none=True)
    return calls


@torch.no_grad()
def _what_exits_read(
    context: StageContext, fitter: Fitter, model: MultiExitForSequenceClassification, rows: Any
) -> tuple[Tensor, Tensor]:
    """What every exit reads of training examples, ``[E, N, H]``, and whether it is right, ``[E, N]``."""
    from ..distill import model_inputs

    size = context.training.eval_batch_size
    # Examples of similar length share a batch.
    rows = rows[np.argsort(context.task.lengths("train")[rows], kind="stable")]
    seen: list[Tensor] = []
    right: list[Tensor] = []
    read: list[Tensor] = []
    assert model.certainty is not None
    hook = model.certainty.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        with console.progress("what exits read", len(rows)) as bar:
            for begin in range(0, len(rows), size):
                batch = fitter.collate([fitter.train_rows[int(row)] for row in rows[begin : begin + size]])
                batch = {name: tensor.to(fitter.device) for name, tensor in batch.items()}
                said = model(**model_inputs(batch), all_exits=True).exit_logits
                right.append(said.argmax(dim=-1) == batch["labels"])
                read.append(torch.stack(seen))
                seen.clear()
                bar.advance(len(batch["labels"]))
    finally:
        hook.remove()
    return torch.cat(read, dim=1).float(), torch.cat(right, dim=1).float()


def _told(context: StageContext, fitter: Fitter, model: Any) -> dict[str, float]:
    """On the validation examples: the certainty's mean squared error, and that of each exit's accuracy."""
    from .training.predict import exit_answers

    task, size = context.task, context.training.eval_batch_size
    lengths = task.lengths("validation")
    logits, sure = exit_answers(model, fitter.validation_rows, lengths, fitter.collate, size)
    assert sure is not None
    right = logits.argmax(axis=2) == task.task.validation.with_format("numpy")["label"][:]
    shares = right.mean(axis=1, keepdims=True)
    error, constant = float(np.square(sure - right).mean()), float(np.square(shares - right).mean())
    logger.info(
        "certainty learned: mean squared error %.4f; %.4f for an exit that only knows how often it is right",
        error, constant,
    )  # fmt: skip
    return {"certainty_error": error, "constant_error": constant}
