"""Scorers that need no data."""

from __future__ import annotations

import pytest
import torch
from families import backbone
from pruning_toys import multi_exit_mlp, neuron_groups

from prunekit.errors import UnsupportedModelError
from prunekit.granularities import registry as granularities
from prunekit.groups import SlicedGroup
from prunekit.scorers import registry as scorers


@pytest.mark.parametrize("p", [1, 2, 3.5])
def test_magnitude_is_the_norm_of_all_a_units_parameters(p):
    model = backbone("llama")
    groups = granularities.build("heads").groups(model) + granularities.build("neurons").groups(model)
    scores = scorers.build({"name": "magnitude", "p": p}).score(model, groups)
    for k, layer in enumerate(model.layers):
        attention, ffn = layer.self_attn, layer.mlp
        for unit in range(4):  # four key/value heads of width 4, with two query heads each
            wide, narrow = slice(unit * 8, unit * 8 + 8), slice(unit * 4, unit * 4 + 4)
            owned = [attention.q_proj.weight[wide], attention.k_proj.weight[narrow]]
            owned += [attention.v_proj.weight[narrow], attention.o_proj.weight[:, wide]]
            expected = torch.cat([w.flatten() for w in owned]).norm(p)
            assert torch.allclose(scores[f"layers.{k}.heads"][unit], expected)
        for unit in range(48):
            owned = [ffn.gate_proj.weight[unit], ffn.up_proj.weight[unit], ffn.down_proj.weight[:, unit]]
            expected = torch.cat(owned).norm(p)
            assert torch.allclose(scores[f"layers.{k}.neurons"][unit], expected)


def test_magnitude_counts_biases_and_leaves_no_trace():
    model = multi_exit_mlp()
    group = neuron_groups(model)[0]
    block = model.blocks[0]
    owned = torch.cat([block.wide.weight, block.wide.bias[:, None], block.narrow.weight.T], dim=1)
    scores = scorers.build("magnitude").score(model, [group])
    assert torch.allclose(scores[group.name], owned.norm(dim=1))
    assert not scores[group.name].requires_grad


def test_magnitude_of_nothing_and_bad_orders():
    with pytest.raises(UnsupportedModelError, match="own no parameters"):
        scorers.build("magnitude").score(multi_exit_mlp(), [SlicedGroup("empty", "neurons", 3)])
    with pytest.raises(ValueError, match="above 0"):
        scorers.build({"name": "magnitude", "p": 0})


def test_random_depends_on_seed_name_and_size_alone():
    model = multi_exit_mlp()
    groups = neuron_groups(model)
    first = scorers.build("random").score(model, groups)
    scorer = scorers.build("random")
    scorer.score(model, groups[2:])
    again = scorer.score(model, groups[::-1])
    other = scorers.build({"name": "random", "seed": 1}).score(model, groups)
    for name, value in first.items():
        assert torch.equal(value, again[name])
        assert not torch.equal(value, other[name])
        assert value.shape == (8,) and (value >= 0).all() and (value < 1).all()
    assert len({tuple(v.tolist()) for v in first.values()}) == len(groups)
