"""Losses against the slow, obvious way."""

import math

import pytest
import torch

from prunekit.distill import feature_loss, prediction_loss, truth_loss


def soft_cross_entropy(student, teacher, temperature):
    p = [math.exp(t / temperature) for t in teacher]
    q = [math.exp(s / temperature) for s in student]
    return -sum(a / sum(p) * math.log(b / sum(q)) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_prediction_loss_is_the_loop_over_exits_and_examples(temperature):
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 5, 3) * 2, torch.randn(4, 5, 3) * 2
    expected = [
        sum(
            soft_cross_entropy(s, t, temperature)
            for s, t in zip(student[e].tolist(), teacher[e].tolist(), strict=True)
        )
        / 5
        for e in range(4)
    ]
    torch.testing.assert_close(
        prediction_loss(student, teacher, temperature, "none"), torch.tensor(expected), rtol=1e-5, atol=1e-6
    )
    assert prediction_loss(student, teacher, temperature).item() == pytest.approx(sum(expected), rel=1e-5)
    assert prediction_loss(student, teacher, temperature, "mean").item() == pytest.approx(
        sum(expected) / 4, rel=1e-5
    )


def test_one_final_prediction_teaches_every_exit():
    torch.manual_seed(1)
    student, final = torch.randn(4, 5, 3), torch.randn(5, 3)
    torch.testing.assert_close(
        prediction_loss(student, final, reduction="none"),
        prediction_loss(student, final.expand(4, 5, 3), reduction="none"),
    )


def test_prediction_loss_of_a_certain_teacher_is_the_truth_loss():
    torch.manual_seed(2)
    student, labels = torch.randn(3, 6, 4), torch.randint(4, (6,))
    certain = torch.nn.functional.one_hot(labels, 4) * 1e4
    torch.testing.assert_close(
        prediction_loss(student, certain.float(), reduction="none"), truth_loss(student, labels, "none")
    )


def test_prediction_loss_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="teacher logits"):
        prediction_loss(torch.zeros(4, 5, 3), torch.zeros(3, 5, 3))


def test_truth_loss_is_the_loop_over_exits_and_examples():
    torch.manual_seed(3)
    logits, labels = torch.randn(4, 5, 3), torch.randint(3, (5,))
    expected = [
        sum(-torch.log_softmax(logits[e, b], 0)[labels[b]].item() for b in range(5)) / 5 for e in range(4)
    ]
    torch.testing.assert_close(truth_loss(logits, labels, "none"), torch.tensor(expected))
    assert truth_loss(logits, labels).item() == pytest.approx(sum(expected), rel=1e-6)


def test_truth_loss_leaves_out_examples_without_a_label():
    torch.manual_seed(3)
    logits, labels = torch.randn(4, 5, 3, requires_grad=True), torch.tensor([2, -100, 0, -100, 1])
    have = labels >= 0
    torch.testing.assert_close(
        truth_loss(logits, labels, "none"), truth_loss(logits[:, have], labels[have], "none")
    )
    (gradient,) = torch.autograd.grad(truth_loss(logits, labels), logits)
    assert not gradient[:, ~have].any() and gradient[:, have].all()
    none = truth_loss(logits, torch.full((5,), -100), "none")
    assert none.tolist() == [0.0] * 4
    assert not torch.autograd.grad(none.sum(), logits)[0].any()


def test_feature_loss_is_the_loop_over_unpadded_tokens():
    torch.manual_seed(4)
    student = [torch.randn(3, 4, 2) for _ in range(3)]
    teacher = [torch.randn(3, 4, 2) for _ in range(3)]
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 1]])
    expected = []
    for s, t in zip(student, teacher, strict=True):
        squares = [
            (s[b, i, h] - t[b, i, h]).item() ** 2
            for b in range(3)
            for i in range(4)
            for h in range(2)
            if mask[b, i]
        ]
        expected.append(sum(squares) / len(squares))
    torch.testing.assert_close(feature_loss(student, teacher, mask, "none"), torch.tensor(expected))
    assert feature_loss(student, teacher, mask).item() == pytest.approx(sum(expected), rel=1e-6)


def test_padding_has_no_part_in_the_feature_loss():
    torch.manual_seed(5)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    student, teacher = torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 3, 4)
    elsewhere = torch.where(mask[..., None].bool(), teacher, teacher + 100)
    loss = feature_loss([student], [teacher], mask)
    assert loss.item() == feature_loss([student], [elsewhere], mask).item()
    loss.backward()
    assert (student.grad[mask == 0] == 0).all()
    assert (student.grad[mask == 1] != 0).any()


def test_losses_are_float32_in_bfloat16():
    student, teacher = torch.randn(2, 3, 4).bfloat16(), torch.randn(2, 3, 4).bfloat16()
    assert prediction_loss(student, teacher).dtype == torch.float32
    assert feature_loss([student], [teacher], torch.ones(2, 3)).dtype == torch.float32


def test_feature_loss_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="hidden states"):
        feature_loss([torch.zeros(1, 2, 3)], [torch.zeros(1, 2, 3)] * 2, torch.ones(1, 2))
    with pytest.raises(ValueError, match="hidden states"):
        feature_loss([torch.zeros(1, 2, 3)], [torch.zeros(1, 2, 4)], torch.ones(1, 2))
