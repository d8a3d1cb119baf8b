"""`prunekit predict` under every exit policy that a model may have."""

from __future__ import annotations

import pytest
import torch
from families import backbone

import prunekit
from prunekit.commands.predict import classifier_of, load_classifier, predictions
from prunekit.data import word_tokenizer
from prunekit.errors import RecipeError
from prunekit.exits import MultiExitForSequenceClassification

TEXTS = ["the soup was good", "the film was a bore", "good", "a bore of a film , and the soup was good"]


@pytest.fixture
def saved(tmp_path):
    tokenizer = word_tokenizer(TEXTS)
    torch.manual_seed(0)
    model = MultiExitForSequenceClassification.from_backbone(
        backbone("bert", vocab_size=len(tokenizer)), reads="mean", label_names=["neg", "pos"]
    ).eval()
    with torch.no_grad():
        for head in model.exits:
            head.classifier.weight.mul_(60)
    torch.nn.init.normal_(model.add_exit_certainty().linear.weight)

    def save(policy):
        model.set_exit_policy(policy)
        prunekit.save(model, tmp_path / "m", tokenizer)
        return tmp_path / "m"

    return save


def answers(folder, threshold=None):
    classifier = classifier_of(*load_classifier(folder, threshold))
    return list(predictions(classifier, [(f"text {i}", (text,)) for i, text in enumerate(TEXTS)]))


@pytest.mark.parametrize(
    "policy", ["learned", "entropy", "confidence", {"name": "patience", "patience": 1}, None], ids=str
)
def test_every_policy(saved, policy):
    folder = saved(policy)
    model, tokenizer = load_classifier(folder)
    for text, answer in zip(TEXTS, answers(folder), strict=True):
        with torch.no_grad():
            alone = model(**tokenizer(text, return_tensors="pt"))
        assert answer.exit_layer == int(alone.exit_layer)
        assert answer.confidence == pytest.approx(float(alone.logits.softmax(-1).max()), abs=1e-4)


def test_another_threshold_of_certainty(saved):
    folder = saved("learned")
    assert {a.exit_layer for a in answers(folder, 0.0)} == {1}
    assert {a.exit_layer for a in answers(folder, 1.0)} == {3}
    model, tokenizer = load_classifier(folder)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    first = model(**batch, all_exits=True).exit_certainty[0]
    between = float(first.detach().sort().values[1:3].mean())
    assert [a.exit_layer == 1 for a in answers(folder, between)] == (first > between).tolist()


def test_a_policy_without_threshold(saved):
    with pytest.raises(RecipeError, match="'patience' has no argument 'threshold'"):
        answers(saved("patience"), 0.3)
