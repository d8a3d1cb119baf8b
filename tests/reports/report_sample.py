"""A report about made-up predictions of real, tiny models."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch
from sklearn.metrics import accuracy_score, f1_score
from transformers import BertConfig, BertModel

from prunekit.architectures import shape_of
from prunekit.exits import MultiExitForSequenceClassification as MultiExit
from prunekit.granularities import registry as granularities
from prunekit.reports import (
    ExitOutputs,
    RunReport,
    StageRecord,
    SystemReport,
    choose_policy,
    evaluate_exits,
    exit_costs,
    model_figures,
)

TAGS = ["single clause", "negation", "contrast", "nested concession"]
THRESHOLDS = [0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05]
POLICIES = [{"name": "entropy", "threshold": t} for t in THRESHOLDS]


def score(labels, predictions):
    return {"accuracy": accuracy_score(labels, predictions), "f1": f1_score(labels, predictions)}


def models(layers=6):
    """A dense single-exit model and a slimmed multi-exit one, on the meta device."""
    with torch.device("meta"):
        config = BertConfig(
            vocab_size=2000,
            hidden_size=128,
            num_hidden_layers=layers,
            num_attention_heads=8,
            intermediate_size=512,
        )
        dense = MultiExit.from_backbone(BertModel(config), exit_layers="last")
        slender = MultiExit.from_backbone(BertModel(config))
    for group in [g for n in ("heads", "neurons") for g in granularities.build(n).groups(slender)]:
        group.keep(torch.arange({"heads": 1, "neurons": 64}[group.granularity]))
    return dense, slender


def outputs(seed=0, examples=400, layers=6, skill=1.0):
    """Exits that grow surer with depth, later on hard examples, which are longer."""
    random = np.random.default_rng(seed)
    hard = random.integers(0, len(TAGS), examples)
    labels = random.integers(0, 2, examples)
    lengths = 6 + 5 * hard + random.integers(0, 8, examples)
    depth = np.arange(1, layers + 1)[:, None]
    sure = np.maximum(0.05, skill * (depth * 0.9 - hard * 0.75 + random.normal(0, 0.8, examples)))
    margin = np.where(labels == 1, 1, -1) * sure + random.normal(0, 0.45, (layers, examples))
    return ExitOutputs(
        logits=np.stack([-margin, margin], axis=-1).astype(np.float32),
        labels=labels,
        lengths=lengths,
        exit_layers=list(range(1, layers + 1)),
        texts=[
            f'Sentence {i}: a plot <b>thin</b> & long, with "{TAGS[h]}" in it' for i, h in enumerate(hard)
        ],
        difficulty=[TAGS[h] for h in hard],
        difficulties=TAGS,
    )


@cache
def make_report(systems=1, layers=6):
    dense, slender = models(layers)
    rows = []
    for k in range(systems):
        held_out, test = outputs(1, 300, layers, 1 - 0.2 * k), outputs(2, 500, layers, 1 - 0.2 * k)
        validation = evaluate_exits(
            held_out, POLICIES, exit_costs(slender, dense, held_out.lengths), score, split="validation"
        )
        rows.append(
            SystemReport(
                name=["slender", "two-stage", "patience <style>"][k],
                figures=replace(model_figures(slender, "slender", before=shape_of(dense)), embedding_rank=64),
                evaluation=evaluate_exits(
                    test,
                    POLICIES,
                    exit_costs(slender, dense, test.lengths),
                    score,
                    dense_predictions=np.where(np.arange(500) % 30 == 0, 1 - test.labels, test.labels),
                    chosen=choose_policy(validation, 0.01),
                ),
                validation=validation,
                max_drop_points=0.01,
                steps=1200,
                seconds=333.0,
            )
        )
    return RunReport(
        name="costeff-demo",
        task="reviews",
        label_names=["negative", "positive"],
        dense=model_figures(dense, "dense, single exit"),
        systems=rows,
        stages=[
            StageRecord("finetune", 61.5, 900, {"accuracy": 0.971, "loss": 0.084}),
            StageRecord("assistant", 74.0, 900, {"accuracy (mean over exits)": 0.93}),
            StageRecord("slenderize", 120.25, 2400, {"accuracy (mean over exits)": 0.9, "loss": None}),
            StageRecord("recover", 88.0, 1500, {"accuracy (mean over exits)": 0.921}),
            StageRecord("evaluate", 4.0),
        ],
        recipe={
            "name": "costeff",
            "seed": 42,
            "data": {"task": "reviews", "files": []},
            "stages": ["finetune", "evaluate"],
        },
        command="prunekit apply recipes/costeff.yaml",
        versions={"prunekit": "0.1.0", "torch": "2.13.0"},
        machine={"processor": "x86_64", "threads": 1},
        seed=42,
        seconds=347.75,
        task_note="Sentences from a grammar <of reviews>: scores compare only with each other.",
        notes=["The data is generated from the seed."],
        created="2025-01-01T00:00:00+00:00",
    )


EVIL = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"throw 1\"> "
    "| `x` {{data}} <!-- \u2028"
)


def evil(report):
    """The same report, with markup in everything a user may write."""
    [system] = report.systems
    errors = [replace(e, text=EVIL, difficulty=EVIL) for e in system.evaluation.early_errors]
    evaluation = replace(system.evaluation, early_errors=errors)
    return replace(
        report,
        name=EVIL,
        task=EVIL,
        task_note=EVIL,
        label_names=[EVIL, EVIL],
        recipe={EVIL: [EVIL, {"deep": EVIL}]},
        command=EVIL,
        notes=[EVIL],
        systems=[replace(system, name=EVIL, evaluation=evaluation)],
    )


def sparse(report):
    """No dense score, no difficulty, no stages, nobody leaves early."""
    [system] = report.systems
    old = system.evaluation

    def bare(point):
        return replace(point, by_difficulty={}, short=None, kept=None)

    evaluation = replace(
        old,
        dense=replace(old.dense, scores=None, short_scores=None),
        all_layers=bare(old.all_layers),
        points=[],
        chosen=bare(old.all_layers),
        early_errors=[],
        early_error_count=0,
    )
    return replace(report, stages=[], recipe={}, command="", systems=[replace(system, evaluation=evaluation)])
