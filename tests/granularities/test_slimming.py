"""Removing by slicing equals removing by masking, for every family and granularity."""

from __future__ import annotations

import pytest
import torch
from families import DECODERS, FAMILIES, batch, task_model
from hypothesis import given, settings
from hypothesis import strategies as st

from prunekit.architectures import shape_of
from prunekit.errors import UnsupportedModelError
from prunekit.granularities import registry
from prunekit.groups import Gate


def hide(gate: Gate, removed: torch.Tensor):
    """Zero the activations of the removed units, the obvious way."""
    columns = torch.cat([torch.arange(u * gate.width, (u + 1) * gate.width) for u in removed.tolist()])

    def hook(module, args):
        hidden = args[0].clone()
        hidden[..., columns] = 0
        return (hidden, *args[1:])

    return gate.module.register_forward_pre_hook(hook)


@pytest.mark.parametrize("granularity", ["heads", "neurons"])
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_slimming_equals_masking(family, granularity, data):
    model, inputs = task_model(family), batch()
    groups = registry.build(granularity).groups(model)
    keeps = {}
    for group in groups:
        chosen = data.draw(st.sets(st.integers(0, group.size - 1), min_size=1))
        keeps[group.name] = torch.tensor(sorted(chosen))
    hooks = []
    for group in groups:
        removed = torch.tensor([u for u in range(group.size) if u not in set(keeps[group.name].tolist())])
        if removed.numel():
            hooks.append(hide(group.gates[0], removed))
    with torch.no_grad():
        masked = model(**inputs).logits
        for hook in hooks:
            hook.remove()
        for group in groups:
            group.keep(keeps[group.name])
        slim = model(**inputs).logits
    assert torch.allclose(slim, masked, atol=1e-5, rtol=1e-5)
    assert [g.size for g in groups] == [keeps[g.name].numel() for g in groups]


@pytest.mark.parametrize("family", FAMILIES)
def test_biases_and_grouped_queries_are_all_owned(family):
    """Every parameter of attention and FFN shrinks in proportion, but for the output biases."""
    model = task_model(family)
    for name in ("heads", "neurons"):
        for group in registry.build(name).groups(model):
            owned = {id(piece.tensor) for piece in group.slices}
            layer_parameters = group.unit_parameters * group.size
            assert layer_parameters == sum(piece.tensor.numel() for piece in group.slices)
            assert len(owned) == len(group.slices)


@pytest.mark.parametrize("family", DECODERS)
def test_decoder_attributes_follow(family):
    model = task_model(family)
    before = shape_of(model)
    for group in registry.build("heads").groups(model):
        group.keep(torch.tensor([1]))
    after = shape_of(model)
    for old, new in zip(before.layers, after.layers, strict=True):
        assert new.num_key_value_heads == 1
        assert new.num_attention_heads == old.num_attention_heads // old.num_key_value_heads
    tokens = model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert tokens.shape == (1, 7)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"llama"}))
def test_rank_keeps_the_best_approximation_in_the_model(family):
    model = task_model(family)
    if family == "mistral":
        model.config.tie_word_embeddings = False
    (group,) = registry.build("rank").groups(model)
    weight = group.words.weight.detach().double()
    u, s, vt = torch.linalg.svd(weight, full_matrices=False)
    group.keep(torch.arange(7))
    expected = (u[:, :7] * s[:7]) @ vt[:7]
    assert torch.allclose(group.words.weight.double(), expected, atol=1e-6)
    assert shape_of(model).embedding_rank == 7
    # Once more, from the factors: still the best of the original, since the first cut kept its span.
    group.keep(torch.arange(3))
    assert torch.allclose(group.words.weight.double(), (u[:, :3] * s[:3]) @ vt[:3], atol=1e-6)
    model(**batch())


def test_full_rank_is_left_alone():
    model = task_model("bert")
    (group,) = registry.build("rank").groups(model)
    before = group.words
    group.keep(torch.arange(group.size))
    assert group.words is before


def test_tied_embedding_is_refused():
    model = task_model("llama", tie_word_embeddings=True)
    with pytest.raises(UnsupportedModelError, match="tied"):
        registry.build("rank").groups(model)


def test_intrinsic_importance_is_the_singular_values():
    model = task_model("bert")
    (group,) = registry.build("rank").groups(model)
    expected = torch.linalg.svdvals(group.words.weight.detach().double()).float()
    assert torch.allclose(group.intrinsic_importance(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([], "at least one"),
        ([0, 4], "outside"),
        ([1, 1], "ascending"),
        ([2, 1], "ascending"),
        ([-1], "outside"),
    ],
)
def test_bad_keep_sets_are_refused(indices, message):
    group = registry.build("heads").groups(task_model("bert"))[0]
    with pytest.raises(ValueError, match=message):
        group.keep(torch.tensor(indices))
    assert group.size == 4


def test_ranks_keep_a_prefix_only():
    (group,) = registry.build("rank").groups(task_model("bert"))
    with pytest.raises(ValueError, match="first ones"):
        group.keep(torch.tensor([0, 2]))


def test_unknown_family_says_what_to_do():
    with pytest.raises(UnsupportedModelError, match="channels"):
        registry.build("heads").groups(torch.nn.Linear(2, 2))
