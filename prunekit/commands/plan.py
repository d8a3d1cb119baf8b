"""``prunekit plan``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import console
from ..planning import Plan, Work, located, plan
from ..recipes import Recipe, expand, load_recipe
from .sources import as_overrides

if TYPE_CHECKING:
    from ..comparison import PlannedRun
    from ..data import EncodedTask
    from ..reports import ModelFigures

logger = logging.getLogger(__name__)


def plan_recipe(recipe: str, overrides: Sequence[str], *, name: str | None, output: Path | None) -> None:
    """Print what a recipe will do and what it will give."""
    loaded = load_recipe(recipe, [*overrides, *as_overrides(name=name, output=output)])
    for note in loaded.notes:
        logger.warning(note)
    console.quiet_libraries()
    task, vocab_size = read_task(loaded)
    planned = plan(loaded, task, vocab_size)
    compared = _plan_comparison(loaded, task, vocab_size)
    _print_head(planned)
    _print_stages(planned)
    _print_models(planned)
    _print_layers(planned)
    _print_notes(planned)
    if len(compared) > 1:
        _print_comparison(planned, compared)


def _plan_comparison(recipe: Recipe, task: EncodedTask | None, vocab_size: int | None) -> list[PlannedRun]:
    """All that the recipe is compared with, which is checked before anything is printed."""
    from ..comparison import plan_comparison

    def read(other: Recipe) -> tuple[EncodedTask | None, int | None]:
        same = (other.data, other.model, other.training) == (recipe.data, recipe.model, recipe.training)
        return (task, vocab_size) if same else read_task(other)

    return plan_comparison(expand(recipe), read)


def read_task(recipe: Recipe) -> tuple[EncodedTask | None, int | None]:
    """The recipe's examples where they are at hand, and the size of the vocabulary.

    Examples on the hub are not fetched for a plan.
    """
    from ..data import encode, label_names_of_model, load_task
    from ..data.config import REVIEWS
    from ..models import load_tokenizer

    config = recipe.data
    if not (config.from_files or config.task == REVIEWS):
        return None, None
    with located(recipe, "model", "name"):
        names = label_names_of_model(recipe.model)
    with located(recipe, "data"):
        task = load_task(config, recipe.seed, names)
    with located(recipe, "model", "name"):
        texts = [
            text
            for column in task.train.column_names
            if column.startswith("text")
            for text in task.train[column]
        ]
        tokenizer = load_tokenizer(recipe.model, texts)
    with located(recipe, "data"):
        return encode(task, tokenizer, recipe.training.max_length), len(tokenizer)


def _print_head(planned: Plan) -> None:
    recipe = planned.recipe
    description = " ".join(recipe.description.split())
    console.out().print(recipe.name, style="bold", end="")
    console.say(f": {description}" if description else "")
    console.say(f"  model  {recipe.model.name}, {_exits(planned)}")
    console.say(f"  data   {_data(planned)}")
    console.say(f"  run    {recipe.output}/{recipe.name}, seed {recipe.seed}")
    console.say("")


def _exits(planned: Plan) -> str:
    exits, layers = planned.recipe.exits, planned.model.config.exit_layers
    reads = {
        "first": "the first token",
        "mean": "the mean of the tokens",
        "learned": "a learned mean",
        "last": "the last token",
    }
    numbers = ", ".join(map(str, layers))
    return f"exits on layers {numbers}, {exits.head}, reading {reads[exits.reads]}"


def _data(planned: Plan) -> str:
    config, encoded = planned.recipe.data, planned.task
    if encoded is None:
        return f"{config.hub_name or config.task}, from the hub: examples are read when the recipe is applied"
    task = encoded.task
    sizes = (
        f"{len(task.train):,} training, {len(task.validation):,} validation, {len(task.test):,} test examples"
    )
    lengths = encoded.lengths("train")
    return (
        f"{task.name}: {sizes}, {len(task.label_names)} classes, {lengths.mean():.1f} tokens on average, "
        f"scored by {', '.join(task.metrics)}"
    )


def _print_stages(planned: Plan) -> None:
    table = console.table(
        "Stages", "stage", "training", "epochs", "learning rate", "optimizer steps", "what it does"
    )
    table.columns[1].justify = table.columns[5].justify = "left"
    for number, stage in enumerate(planned.stages, 1):
        rows = [_work_cells(planned, work) for work in stage.works] or [("", "", "", "")]
        for index, cells in enumerate(rows):
            first = index == 0
            table.add_row(f"{number} {stage.key}" if first else "", *cells, stage.summary if first else "")
    console.out().print(table)


def _work_cells(planned: Plan, work: Work) -> tuple[str, str, str, str]:
    rate, steps = work.learning_rate, planned.steps(work)
    rates = f"{rate[0]:.3g} to {rate[1]:.3g}" if isinstance(rate, tuple) else f"{rate:.3g}"
    times = f"{work.times} x " if work.times > 1 else ""
    return work.what, f"{times}{work.epochs:g}", rates, "?" if steps is None else f"{steps:,}"


def _print_models(planned: Plan) -> None:
    length = planned.original.sequence_length
    table = console.table(
        f"Models, one example of {length} tokens through every layer and exit",
        "after",
        "parameters",
        "fewer",
        "outside embeddings",
        "fewer",
        "multiply-adds",
        "FLOPs",
        "fewer",
        caption="fewer: than the original, the dense model with one classifier; FLOPs = 2 x multiply-adds",
    )
    rows: list[tuple[str, ModelFigures | None]] = [("original", planned.original)]
    rows += [(stage.key, stage.figures) for stage in planned.stages]
    before: ModelFigures | None = None
    for name, figures in rows:
        if figures is None:
            table.add_row(name, "decided by scores", *[""] * 6)
        elif before is None or _costs(figures) != _costs(before):
            table.add_row(name, *_model_cells(figures, planned.original))
        before = figures
    console.out().print(table)


def _costs(figures: ModelFigures) -> tuple[int, int]:
    return figures.parameters, figures.macs


def _model_cells(figures: ModelFigures, original: ModelFigures) -> list[str]:
    body, original_body = (f.parameters - f.embedding_parameters for f in (figures, original))
    return [
        f"{figures.parameters:,}",
        f"{original.parameters / figures.parameters:.1f}x",
        f"{body:,}",
        f"{original_body / body:.1f}x",
        f"{figures.macs:,}",
        f"{figures.flops:,}",
        f"{original.macs / figures.macs:.1f}x",
    ]


def _print_layers(planned: Plan) -> None:
    figures = planned.stages[-1].figures
    if figures is None:
        return
    original = planned.original
    layers = console.table(
        "The resulting model, layer by layer",
        "layer",
        "heads",
        "neurons",
        "parameters",
        "multiply-adds",
        "FLOPs",
        "up to its exit: FLOPs",
        "fewer",
    )
    exits = dict(zip(planned.model.config.exit_layers, figures.by_exit, strict=True))
    for sizes, cost in zip(figures.layers, figures.by_layer, strict=True):
        exit_cost = exits.get(sizes.layer)
        layers.add_row(
            str(sizes.layer),
            f"{sizes.heads} of {sizes.heads_before}",
            f"{sizes.neurons} of {sizes.neurons_before}",
            f"{cost.parameters:,}",
            f"{cost.macs:,}",
            f"{2 * cost.macs:,}",
            "" if exit_cost is None else f"{2 * exit_cost.macs:,}",
            "" if exit_cost is None else f"{original.macs / exit_cost.macs:.1f}x",
        )
    console.out().print(layers)
    rank = figures.embedding_rank
    if rank is not None:
        console.say(f"word embedding: rank {rank}")


def _print_notes(planned: Plan) -> None:
    if planned.cached:
        console.say(
            f"the teacher's answers to the training examples, kept on disk while the recipe is applied: "
            f"{sum(planned.cached.values()) / 2**20:,.0f} MiB"
        )
    if not planned.sizes_known:
        console.say("what each layer keeps is decided by scores; that the target can be met was checked")


def _print_comparison(planned: Plan, compared: Sequence[PlannedRun]) -> None:
    """What each run of the comparison trains itself, and what it takes over from those before it."""
    table = console.table(
        "Comparison, in the order of training",
        "run",
        "takes over",
        "trains",
        "optimizer steps",
        "epochs in all",
        "parameters",
        "fewer",
        "FLOPs",
        "fewer",
    )
    table.columns[1].justify = table.columns[2].justify = "left"
    for run in compared:
        steps = "?" if run.steps is None else f"{run.steps:,}"
        trained = ", ".join(key for key in run.trained) or "nothing"
        figures, original = run.plan.stages[-1].figures, planned.original
        cells = ["decided by scores", "", "", ""]
        if figures is not None:
            fewer = (original.parameters / figures.parameters, original.macs / figures.macs)
            cells = [f"{figures.parameters:,}", f"{fewer[0]:.1f}x", f"{figures.flops:,}", f"{fewer[1]:.1f}x"]
        table.add_row(run.place, ", ".join(run.shared), trained, steps, f"{run.epochs:g}", *cells)
    console.out().print(table)
    steps_of_all = [run.steps for run in compared if run.steps is not None]
    if len(steps_of_all) == len(compared):
        console.say(f"{len(compared)} runs, {sum(steps_of_all):,} optimizer steps")
    for run in compared[1:]:
        for note in run.plan.recipe.notes:
            logger.warning("%s: %s", run.place, note)
