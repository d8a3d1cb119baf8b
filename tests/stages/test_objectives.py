"""Objectives are weighted sums, and say which part is not finite."""

import math

import pytest
import torch
from transformers import BertConfig, BertModel

from prunekit.distill import LiveTeacher, TeacherOutput, feature_loss, prediction_loss, truth_loss
from prunekit.exits import MultiExitForSequenceClassification
from prunekit.exits.model import MultiExitOutput
from prunekit.stages.training.objectives import Objective, features, predictions, truth


def model(seed, exit_layers="all"):
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8,
        initializer_range=0.5,
    )  # fmt: skip
    return MultiExitForSequenceClassification.from_backbone(
        BertModel(config), num_labels=2, exit_layers=exit_layers
    ).eval()


@pytest.fixture
def batch():
    ids = torch.tensor([[1, 2, 3], [4, 5, 0]])
    return {
        "input_ids": ids, "attention_mask": (ids > 0).long(), "labels": torch.tensor([0, 1]),
        "index": torch.tensor([0, 1]),
    }  # fmt: skip


def test_the_loss_is_the_weighted_sum_of_the_losses(batch):
    student, teacher = model(0), LiveTeacher(model(1))
    output = student(batch["input_ids"], batch["attention_mask"], all_exits=True, output_hidden_states=True)
    taught = teacher(batch, hidden_states=True)
    expected = (
        0.3 * truth_loss(output.exit_logits, batch["labels"])
        + 0.7 * prediction_loss(output.exit_logits, taught.exit_logits, 2.0)
        + 0.1 * feature_loss(output.hidden_states, taught.hidden_states, batch["attention_mask"])
    )
    objective = Objective([truth(0.3), predictions(0.7, 2.0), features(0.1)], teacher)
    assert objective(student, batch).item() == pytest.approx(expected.item(), rel=1e-6)
    per_exit = objective.per_exit(student, batch)
    assert per_exit.shape == (3,)
    assert per_exit.sum().item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_single_exit_teacher_teaches_every_exit_its_final_prediction(batch):
    student, original = model(0), model(1, "last")
    logits = student(batch["input_ids"], batch["attention_mask"], all_exits=True).exit_logits
    final = original(batch["input_ids"], batch["attention_mask"]).logits
    for final_alone in (True, False):
        objective = Objective([predictions(final=final_alone)], LiveTeacher(original))
        expected = prediction_loss(logits, final).item()
        assert objective(student, batch).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("final", "taught_by"), [(True, [2, 2, 2]), (False, [0, 1, 2])])
def test_of_a_teacher_of_three_exits_the_last_or_each_ones_own_teaches(final, taught_by):
    """Soft cross-entropy -sum q ln p, from probabilities of one example at each exit."""
    student = [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]]
    teacher = [[0.9, 0.1], [0.5, 0.5], [0.25, 0.75]]
    said, taught = (torch.tensor(exits).log()[:, None] for exits in (student, teacher))
    losses = predictions(final=final).loss(MultiExitOutput(exit_logits=said), TeacherOutput(taught), {})
    assert losses.tolist() == pytest.approx(
        [
            -sum(q * math.log(p) for q, p in zip(teacher[place], own, strict=True))
            for place, own in zip(taught_by, student, strict=True)
        ]
    )
    if final:
        # 0.25 x 0.2231 + 0.75 x 1.6094, 0.25 x 0.5108 + 0.75 x 0.9163, 0.25 x 1.2040 + 0.75 x 0.3567
        assert losses.tolist() == pytest.approx([1.2629, 0.8149, 0.5685], abs=1e-4)


def test_terms_count_from_their_part_of_the_run_on(batch):
    objective = Objective([features(), predictions(since=0.5)], LiveTeacher(model(1)))
    student = model(0)
    assert list(objective.parts(student, batch, 0.49)) == ["features"]
    assert list(objective.parts(student, batch, 0.5)) == ["features", "predictions"]


def test_terms_without_weight_are_left_out(batch):
    assert list(Objective([truth(), features(0)]).parts(model(0), batch)) == ["ground truth"]
    with pytest.raises(ValueError, match="weight"):
        Objective([truth(0)])
    with pytest.raises(ValueError, match="teacher"):
        Objective([predictions()])


def test_the_exit_and_layer_that_are_not_finite_are_named(batch):
    objective = Objective([truth(), features()], LiveTeacher(model(1)))
    good = {"ground truth": torch.ones(3), "features": torch.ones(4)}
    assert objective.first_bad(good) is None
    bad = good | {"ground truth": torch.tensor([1.0, float("nan"), 1.0])}
    assert objective.first_bad(bad) == "the loss for ground truth of exit 2 is nan"
    bad = good | {"features": torch.tensor([float("inf"), 1.0, 1.0, 1.0])}
    assert objective.first_bad(bad) == "the loss for features of layer 0 is inf"


def test_per_exit_needs_a_loss_by_exit(batch):
    with pytest.raises(ValueError, match="exit"):
        Objective([features()], LiveTeacher(model(1))).per_exit(model(0), batch)
