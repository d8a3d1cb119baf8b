"""Dropout for the time of a training run."""

from __future__ import annotations

import pytest
from families import backbone
from torch import nn

from prunekit.stages.training.fit import dropout_of


def probabilities(model):
    return [module.p for module in model.modules() if isinstance(module, nn.Dropout)]


def test_all_layers_have_it_within_and_their_own_after():
    model = backbone("bert", attention_probs_dropout_prob=0.3)
    before = probabilities(model)
    assert len(set(before)) > 1
    with pytest.raises(RuntimeError), dropout_of(model, 0.0):
        assert set(probabilities(model)) == {0.0}
        raise RuntimeError
    assert probabilities(model) == before
    with dropout_of(model, None):
        assert probabilities(model) == before
