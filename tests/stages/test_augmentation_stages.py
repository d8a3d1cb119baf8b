"""Stages that learn from copies of the training examples."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file
from tiny import apply, tiny_recipe

from prunekit.data import NO_LABEL
from prunekit.distill import CachedTeacher
from prunekit.errors import RecipeError
from prunekit.stages.training import teaching
from prunekit.stages.training.fit import Fitter

COPIES = {"augmentation": {"copies": 2}}
STUDENT = {
    "stages": ["finetune", "student", "distill", "evaluate"],
    "student": {"layers": 1},
    "distill": {"hidden": 1, **COPIES},
}


def figures(run, key):
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return next(line for line in lines if line["stage"] == key and line["kind"] == "stage")


@pytest.mark.parametrize("changes", [{"slenderize": COPIES, "recover": COPIES}, STUDENT])
def test_training_is_as_long_as_without_and_sees_all_copies(tmp_path, monkeypatch, changes):
    seen, whole = set(), Fitter.fit

    def fit(self, model, objective, **options):
        loss = objective.parts

        def parts(model, batch, progress=1.0):
            seen.update(batch["index"].tolist())
            return loss(model, batch, progress)

        objective.parts = parts
        return whole(self, model, objective, **options)

    plain = {
        key: {**value, "augmentation": None} if isinstance(value, dict) and "augmentation" in value else value
        for key, value in changes.items()
    }
    without = apply(tmp_path / "without", **plain)
    monkeypatch.setattr(Fitter, "fit", fit)
    run = apply(tmp_path / "with", **changes)
    keys = [key for key in changes if isinstance(changes[key], dict) and "augmentation" in changes[key]]
    for key in keys:
        assert figures(run, key)["steps"] == figures(without, key)["steps"]
    assert {row // 100 for row in seen} == {0, 1, 2}
    one, two = (load_file(folder / "model" / "model.safetensors") for folder in (run, without))
    assert any((one[name] != two[name]).any() for name in one)


def test_importance_is_computed_on_examples_with_labels(tmp_path, monkeypatch):
    labels, batches = [], Fitter.batches

    def watched(self, count, purpose):
        for batch in batches(self, count, purpose):
            labels.extend(batch["labels"].tolist())
            yield batch

    monkeypatch.setattr(Fitter, "batches", watched)
    apply(tmp_path, stages=["finetune", "assistant", "slenderize", "evaluate"], slenderize=COPIES)
    assert set(labels) == {0, 1}


def test_an_assistant_has_the_originals_prediction_for_copies_and_labels_for_the_rest(tmp_path, monkeypatch):
    labels, whole = [], Fitter.fit

    def fit(self, model, objective, *, phase, **options):
        parts = objective.parts

        def watched(model, batch, progress=1.0):
            losses = parts(model, batch, progress)
            labels.extend(batch["labels"].tolist())
            if (batch["labels"] == NO_LABEL).all():
                assert losses["ground truth"].tolist() == [0.0] * len(losses["ground truth"])
            assert losses["predictions"].min() > 0
            return losses

        if phase == "train" and len(model.exits) > 1:
            objective.parts = watched
        return whole(self, model, objective, phase=phase, **options)

    monkeypatch.setattr(Fitter, "fit", fit)
    assistant = {"augmentation": {"copies": 3}, "epochs": 2}
    apply(tmp_path, stages=["finetune", "assistant", "evaluate"], assistant=assistant)
    assert set(labels) == {0, 1, NO_LABEL}
    # Two epochs of 100 are half of the 400 that there are now; a quarter of those has a label.
    assert len(labels) == 200
    assert 25 <= sum(label != NO_LABEL for label in labels) <= 75


@pytest.mark.parametrize(
    "key, nothing",
    [
        ("assistant", {"predictions": 0}),
        ("slenderize", {"features": 0, "predictions": 0, "ground_truth": 1}),
        ("recover", {"features": 0, "predictions": 0, "ground_truth": 1}),
        ("distill", {"hidden": 0, "predictions": 0, "ground_truth": 1}),
    ],
)
def test_copies_that_would_teach_nothing_are_refused(tmp_path, key, nothing):
    changes = {key: {**COPIES, **nothing}}
    if key == "distill":
        changes = {**STUDENT, "distill": {**STUDENT["distill"], **changes["distill"]}}
    with pytest.raises(RecipeError, match=f"{key}: augmentation makes copies without labels"):
        tiny_recipe(tmp_path, **changes)
    tiny_recipe(tmp_path, **{**changes, key: {**changes[key], "predictions": 1}})


def test_answers_to_other_examples_make_room(tmp_path, monkeypatch):
    built, build = [], CachedTeacher.build.__func__

    def watched(cls, model, dataset, lengths, collate, folder, **options):
        there = len(list(folder.iterdir())) if folder.is_dir() else 0
        built.append((len(lengths), there))
        return build(cls, model, dataset, lengths, collate, folder, **options)

    # A disk with room for one set of answers, whatever their size.
    monkeypatch.setattr(teaching, "free_bytes", lambda folder: 0 if folder.is_dir() else 1 << 50)
    monkeypatch.setattr(CachedTeacher, "build", classmethod(watched))
    apply(tmp_path, stages=["finetune", "assistant", "slenderize", "recover"], recover=COPIES)
    assert built == [(100, 0), (300, 0)]  # examples, and what was there before
