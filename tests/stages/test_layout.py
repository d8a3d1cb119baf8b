"""The original's classifier may be of another kind than the exits."""

from __future__ import annotations

import pytest
import torch
from families import backbone

from prunekit.exits import ExitsConfig, MultiExitForSequenceClassification
from prunekit.exits.heads.pooled import PooledHead
from prunekit.stages.assistant import with_exits
from prunekit.stages.finetune import FinetuneConfig


def test_layout_follows_the_recipe_but_for_what_is_given():
    exits = ExitsConfig(layers=[1, 3], head="linear", reads="mean", dropout=0.2)
    own = FinetuneConfig(head="pooled").layout(exits)
    assert (own.layers, own.head, own.reads, own.dropout) == ("last", "pooled", "mean", 0.2)
    assert FinetuneConfig(exits="recipe").layout(exits) == exits


@pytest.mark.parametrize("head", ["linear", "pooled"])
@pytest.mark.parametrize("reads", ["first", "learned"])
@pytest.mark.parametrize("copy_last", [False, True])
def test_what_two_kinds_of_exits_share_is_kept(head, reads, copy_last):
    torch.manual_seed(0)
    original = MultiExitForSequenceClassification.from_backbone(
        backbone("bert"), exit_layers="last", head="pooled", reads="mean", num_labels=3
    )
    last = original.exits[-1].classifier.weight.clone()
    model = with_exits(original, ExitsConfig(head=head, reads=reads), copy_last)
    same = [torch.equal(exit_.classifier.weight, last) for exit_ in model.exits]
    assert same == ([True] * 3 if copy_last else [False, False, True])
    if head == "pooled":
        assert torch.equal(model.exits[-1].dense.weight, original.exits[-1].dense.weight)
    assert isinstance(model.exits[0], PooledHead) == (head == "pooled")
