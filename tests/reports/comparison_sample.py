"""A comparison of made-up predictions through ``compare``: several systems, two tasks, three seeds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import torch
from report_sample import make_report
from transformers import BertConfig, BertModel

from prunekit.architectures import shape_of
from prunekit.exits import MultiExitForSequenceClassification as MultiExit
from prunekit.granularities import registry as granularities
from prunekit.reports import (
    ExitOutputs,
    SystemReport,
    SystemRun,
    choose_policy,
    compare,
    evaluate_exits,
    exit_costs,
    model_figures,
)

LAYERS, CLASSES = 6, 2
THRESHOLDS = (0.69, 0.65, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.01)
POLICIES = {
    "entropy": [{"name": "entropy", "threshold": t} for t in THRESHOLDS],
    "patience": [{"name": "patience", "patience": p} for p in range(1, LAYERS)],
    None: [],
}
TASKS = {"mrpc": (["f1", "accuracy"], 260), "sst2": (["accuracy"], 400)}


@dataclass(frozen=True)
class Made:
    """A made-up system: how good it is, and what its model looks like."""

    label: str
    skill: float
    heads: int = 1
    neurons: int = 64
    layers: int = LAYERS
    exits: str | tuple[int, ...] | None = None
    policy: str | None = None
    backbone: str = "slenderized from the teacher"
    tried: int = 4


SYSTEMS = {
    "costeff": Made("COST-EFF", 1.0, policy="entropy"),
    "deebert": Made("DeeBERT style", 0.75, heads=2, policy="entropy"),
    "pabee": Made("PABEE <style>", 0.8, heads=2, policy="patience"),
    "tinybert": Made("TinyBERT style", 1.05, 2, 128, 4, "last", backbone="narrow slice of the teacher"),
    "small-bert": Made("small BERT", 0.8, 2, 128, 2, "last", backbone="first layers of the teacher", tried=1),
    "no-features": Made("without feature distillation", 0.98, policy="entropy", tried=1),
}


DENSE = Made("dense", 1.35, 8, 512, exits="last")


def scores(metrics):
    """As ``prunekit.data.metrics.score``, sooner."""

    def score(true, said):
        wanted = (said == 1).sum() + (true == 1).sum()
        values = {
            "accuracy": float((true == said).mean()),
            "f1": float(2 * ((true == 1) & (said == 1)).sum() / wanted) if wanted else 0.0,
        }
        return {metric: values[metric] for metric in metrics}

    return score


@cache
def sizes(made):
    """Layers with an exit, figures, and costs at every length of the made-up examples."""
    model, dense = _model(made), _model(DENSE)
    before = shape_of(dense) if made.layers == LAYERS else None
    every = np.arange(40)
    return SimpleNamespace(
        layers=[int(layer) for layer in model.config.exit_layers],
        figures=model_figures(model, made.label, before=before),
        costs=exit_costs(model, dense, every + 1),
    )


def costs_of(made, lengths):
    every = sizes(made).costs
    return replace(every, exits_real=every.exits_real[lengths - 1], dense_real=every.dense_real[lengths - 1])


def _model(made):
    with torch.device("meta"):
        config = BertConfig(
            vocab_size=2000,
            hidden_size=128,
            num_hidden_layers=made.layers,
            num_attention_heads=8,
            intermediate_size=512,
        )
        exits = (
            {}
            if made.exits is None
            else {"exit_layers": made.exits if made.exits == "last" else list(made.exits)}
        )
        model = MultiExit.from_backbone(BertModel(config), **exits)
    for group in [g for n in ("heads", "neurons") for g in granularities.build(n).groups(model)]:
        group.keep(torch.arange({"heads": made.heads, "neurons": made.neurons}[group.granularity]))
    return model


def examples(task, split):
    """Labels, difficulty and lengths: the same for every system and seed."""
    random = np.random.default_rng([list(TASKS).index(task), split == "test"])
    count = TASKS[task][1]
    hard = random.random(count)
    labels = (random.random(count) < 0.6).astype(np.int64)
    return labels, hard, (6 + 20 * hard + random.integers(0, 8, count)).astype(np.int64)


def outputs(made, task, seed, split, exit_layers):
    """Exits that grow surer with depth; errors are shared by all systems, and some are each run's own."""
    labels, hard, lengths = examples(task, split)
    shared = np.random.default_rng(7).normal(0, 1.0, len(labels))
    random = np.random.default_rng([seed, len(made.label), split == "test", len(labels)])
    depth = np.asarray(exit_layers)[:, None] / made.layers
    sure = np.maximum(0.1, made.skill * (0.9 + 2.2 * depth) - 2.2 * hard + random.normal(0, 0.05))
    noise = 1.1 * shared + random.normal(0, 0.4, (len(exit_layers), len(labels)))
    margin = np.where(labels == 1, 1, -1) * sure + noise
    return ExitOutputs(
        logits=np.stack([-margin, margin], axis=-1).astype(np.float32),
        labels=labels,
        lengths=lengths,
        exit_layers=exit_layers,
        texts=[f"{task} <{split}> {i}" for i in range(len(labels))],
    )


def make_run(name, task, seed, made=None):
    """One run of a made-up system."""
    made = made or SYSTEMS[name]
    metrics, layers = TASKS[task][0], sizes(made).layers
    said = {split: outputs(made, task, seed, split, layers) for split in ("validation", "test")}
    answers = {split: outputs(DENSE, task, seed, split, [LAYERS]).logits[-1].argmax(axis=1) for split in said}
    test = replace(said["test"], dense_predictions=answers["test"])

    def evaluation(split, chosen=None):
        return evaluate_exits(
            said[split],
            POLICIES[made.policy],
            costs_of(made, said[split].lengths),
            scores(metrics),
            split=split,
            dense_predictions=answers[split],
            chosen=chosen,
        )

    validation = evaluation("validation")
    report = SystemReport(
        name=made.label,
        figures=sizes(made).figures,
        evaluation=evaluation("test", choose_policy(validation, 0.01)),
        validation=validation,
        max_drop_points=0.01,
        steps=1000 + 10 * seed,
        seconds=300.0 + seed,
    )
    return SystemRun(
        system=name,
        label=made.label,
        task=task,
        seed=seed,
        report=report,
        test=test,
        dense=replace(sizes(DENSE).figures, name="dense, single exit"),
        backbone=made.backbone,
        tried=made.tried,
        run=f"runs/costeff/compare/{name}-{task}-{seed}",
        note="made-up predictions",
        settings={
            "seed": seed,
            "exits": {"reads": "mean"},
            "slenderize": {"heads": made.heads, "neurons": made.neurons},
        },
        validation=said["validation"],
    )


@cache
def make_runs(systems=tuple(SYSTEMS), tasks=tuple(TASKS), seeds=(1, 2, 3)):
    return [make_run(name, task, seed) for name in systems for task in tasks for seed in seeds]


@cache
def make_comparison(systems=tuple(SYSTEMS), tasks=tuple(TASKS), seeds=(1, 2, 3), resamples=1000):
    return compare(make_runs(systems, tasks, seeds), resamples=resamples)


def twice(made):
    """A comparison with every system, under another name, a second time: twelve."""
    return replace(
        made,
        systems=[*made.systems, *(replace(s, name=f"other-{s.name}") for s in made.systems)],
        tasks=[
            replace(
                task,
                rows=[*task.rows, *(replace(r, system=f"other-{r.system}") for r in task.rows)],
            )
            for task in made.tasks
        ],
    )


def compared(comparison=None):
    """The report of a run that was compared."""
    return replace(make_report(), comparison=comparison or make_comparison())
