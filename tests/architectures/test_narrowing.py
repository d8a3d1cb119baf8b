"""Narrower, shallower copies of encoders, and attention scores from a layer's input."""

from __future__ import annotations

import copy

import pytest
import torch
from families import DECODERS, ENCODERS, backbone, batch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prunekit.architectures import (
    FactorizedEmbedding,
    Narrowing,
    architecture_of,
    even_layers,
    narrowed,
    shape_of,
)
from prunekit.errors import RecipeError, UnsupportedModelError


def run(model, inputs=None):
    with torch.no_grad():
        return model(**(inputs or batch())).last_hidden_state


def alive(model, seed=3):
    """Norms and biases begin as ones and zeros: give them values of their own."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def drop_pooler(model):
    if hasattr(model, "pooler"):
        model.pooler = None
    return model


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize(
    "to",
    [Narrowing(), Narrowing([1, 2, 3], 32, 4, 48)],
    ids=["nothing is asked for", "everything is kept"],
)
def test_a_copy_that_keeps_everything_computes_the_same_bits(family, to):
    model = alive(backbone(family))
    student, keep = narrowed(model, to)
    assert keep.tolist() == list(range(32))
    assert student is not model and student.training == model.training
    assert torch.equal(run(student), run(model))
    ours = {id(p) for p in model.parameters()}
    assert not any(id(p) in ours for p in student.parameters())


@pytest.mark.parametrize("family", ENCODERS)
def test_the_residual_stream_is_complete(family):
    """Hidden dimensions in another order, everywhere: the same outputs in that order."""
    model = drop_pooler(alive(backbone(family)))
    mixed = copy.deepcopy(model)
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    for piece in architecture_of(mixed).residual_slices(mixed):
        piece.tensor.data = piece.tensor.data.index_select(piece.dim, order)
    assert torch.allclose(run(mixed), run(model)[..., order], atol=1e-5)
    assert not torch.allclose(run(mixed), run(model), atol=1e-2)


def by_hand(model, layers, keep, heads, scores, values, neurons):
    """A BERT cut name by name. Heads and what is kept in them are given layer by layer."""
    width = len(scores[0][0])
    state = model.state_dict()
    new = {}
    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        new[f"embeddings.{name}.weight"] = state[f"embeddings.{name}.weight"][:, keep]
    for name in ("weight", "bias"):
        new[f"embeddings.LayerNorm.{name}"] = state[f"embeddings.LayerNorm.{name}"][keep]
    for place, number in enumerate(layers):
        old, own = f"encoder.layer.{number - 1}.", f"encoder.layer.{place}."
        rows = [h * 8 + j for h, inside in zip(heads[place], scores[place], strict=True) for j in inside]
        columns = [h * 8 + j for h, inside in zip(heads[place], values[place], strict=True) for j in inside]
        assert len(rows) == width * len(heads[place])
        for matrix, taken in (("query", rows), ("key", rows), ("value", columns)):
            key = f"attention.self.{matrix}."
            new[own + key + "weight"] = state[old + key + "weight"][taken][:, keep]
            new[own + key + "bias"] = state[old + key + "bias"][taken]
        key = "attention.output.dense."
        new[own + key + "weight"] = state[old + key + "weight"][keep][:, columns]
        new[own + key + "bias"] = state[old + key + "bias"][keep]
        taken = neurons[place]
        key = "intermediate.dense."
        new[own + key + "weight"] = state[old + key + "weight"][taken][:, keep]
        new[own + key + "bias"] = state[old + key + "bias"][taken]
        new[own + "output.dense.weight"] = state[old + "output.dense.weight"][keep][:, taken]
        new[own + "output.dense.bias"] = state[old + "output.dense.bias"][keep]
        for norm in ("attention.output.LayerNorm.", "output.LayerNorm."):
            for name in ("weight", "bias"):
                new[own + norm + name] = state[old + norm + name][keep]
    return new


def share(*rows):
    """Sum over parameters, given with the unit first, of a unit's squares by all squares."""
    rows = [row.detach() for row in rows]
    return sum(row.double().square().flatten(1).sum(1) / row.double().square().sum() for row in rows)


def largest(values, count):
    return sorted(sorted(range(len(values)), key=lambda i: (-float(values[i]), i))[:count])


def test_a_narrow_slice_of_a_bert_is_the_one_cut_by_hand():
    model = alive(backbone("bert"))
    chosen, heads, scores, values, neurons = [1, 3], [], [], [], []
    residual = [model.embeddings.word_embeddings.weight.T, model.embeddings.position_embeddings.weight.T,
                model.embeddings.token_type_embeddings.weight.T, model.embeddings.LayerNorm.weight[:, None],
                model.embeddings.LayerNorm.bias[:, None]]  # fmt: skip
    for number in chosen:
        layer = model.encoder.layer[number - 1]
        attention, out = layer.attention.self, layer.attention.output
        pairs = share(
            attention.query.weight, attention.query.bias[:, None], attention.key.weight,
            attention.key.bias[:, None],
        )  # fmt: skip
        content = share(attention.value.weight, attention.value.bias[:, None], out.dense.weight.T)
        kept = largest((pairs + content).reshape(4, 8).sum(1), 2)
        heads.append(kept)
        scores.append([largest(pairs.reshape(4, 8)[h], 6) for h in kept])
        values.append([largest(content.reshape(4, 8)[h], 6) for h in kept])
        wide, narrow = layer.intermediate.dense, layer.output.dense
        neurons.append(largest(share(wide.weight, wide.bias[:, None], narrow.weight.T), 20))
        residual += [attention.query.weight.T, attention.key.weight.T, attention.value.weight.T,
                     wide.weight.T, out.dense.weight, out.dense.bias[:, None], narrow.weight,
                     narrow.bias[:, None]]  # fmt: skip
        for norm in (out.LayerNorm, layer.output.LayerNorm):
            residual += [norm.weight[:, None], norm.bias[:, None]]
    keep = largest(share(*residual), 12)
    assert keep != list(range(12))
    expected = by_hand(model, chosen, keep, heads, scores, values, neurons)
    student, kept = narrowed(model, Narrowing(chosen, 12, 2, 20))
    assert kept.tolist() == keep
    state = student.state_dict()
    assert set(state) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor), name
    assert student.config.hidden_size == 12 and student.config.num_attention_heads == 2
    assert student.encoder.layer[0].attention.self.scaling == pytest.approx(6**-0.5)
    assert run(student).shape == (5, 11, 12)


@pytest.mark.parametrize("family", ENCODERS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_any_sizes_that_fit_run_and_are_what_was_asked_for(family, data):
    heads = data.draw(st.sampled_from([1, 2, 4]))
    hidden = heads * data.draw(st.integers(1, 8))
    neurons = data.draw(st.integers(1, 48))
    layers = sorted(data.draw(st.sets(st.integers(1, 3), min_size=1)))
    if family == "electra" and hidden == 24:
        return
    student, keep = narrowed(backbone(family), Narrowing(layers, hidden, heads, neurons))
    shape = shape_of(student)
    assert shape.hidden_size == hidden == len(keep)
    assert [(s.num_attention_heads, s.head_dim, s.intermediate_size) for s in shape.layers] == [
        (heads, hidden // heads if hidden < 32 or heads == 4 else 8, neurons)
    ] * len(layers)
    assert run(student).shape == (5, 11, hidden)
    skeleton = copy.deepcopy(backbone(family)).to("meta")
    assert shape_of(narrowed(skeleton, Narrowing(layers, hidden, heads, neurons))[0]) == shape


def test_layers_are_taken_as_they_are():
    model = alive(backbone("roberta"))
    student, _ = narrowed(model, Narrowing([2, 3]))
    assert student.config.num_hidden_layers == 2
    for old, new in zip(model.encoder.layer[1:], student.encoder.layer, strict=True):
        for name, tensor in old.state_dict().items():
            assert torch.equal(new.state_dict()[name], tensor)


def test_fewer_heads_stay_as_wide_as_they_were():
    student, _ = narrowed(backbone("bert"), Narrowing(heads=3))
    assert {(s.num_attention_heads, s.head_dim) for s in shape_of(student).layers} == {(3, 8)}
    student, _ = narrowed(backbone("bert"), Narrowing(hidden_size=16, heads=1))
    assert {(s.num_attention_heads, s.head_dim) for s in shape_of(student).layers} == {(1, 8)}


def test_an_embedding_in_two_factors_loses_columns_of_the_second():
    model = backbone("bert")
    words = model.embeddings.word_embeddings
    model.embeddings.word_embeddings = FactorizedEmbedding.from_weight(words.weight, 5, words.padding_idx)
    student, keep = narrowed(model, Narrowing(hidden_size=16))
    new = student.embeddings.word_embeddings
    assert new.embedding.weight.shape == (90, 5)
    assert torch.equal(new.projection.weight, model.embeddings.word_embeddings.projection.weight[keep])
    assert shape_of(student).embedding_rank == 5


def test_a_decoder_keeps_its_heads_and_width():
    model = backbone("llama")
    student, _ = narrowed(model, Narrowing([1, 3], neurons=10))
    assert [s.intermediate_size for s in shape_of(student).layers] == [10, 10]
    assert run(student).shape == (5, 11, 32)
    for to in (Narrowing(hidden_size=16), Narrowing(heads=2)):
        with pytest.raises(UnsupportedModelError):
            narrowed(model, to)


@pytest.mark.parametrize(
    ("to", "words"),
    [
        (Narrowing(hidden_size=33), "33 asked for, and the original has 32"),
        (Narrowing(heads=5), "5 asked for, and the original has 4"),
        (Narrowing(neurons=49), "49 asked for, and the original has 48"),
        (Narrowing([0, 1]), "not layers of a model of 3"),
        (Narrowing([2, 4]), "not layers of a model of 3"),
        (Narrowing([2, 1]), "ascending"),
        (Narrowing(hidden_size=30), "30 dimensions do not part into 4 heads of at most 8"),
    ],
)
def test_what_does_not_fit_is_refused(to, words):
    with pytest.raises(RecipeError, match=words):
        narrowed(backbone("bert"), to)


def test_electra_cannot_be_as_wide_as_its_embedding():
    with pytest.raises(RecipeError, match="embedding size"):
        narrowed(backbone("electra"), Narrowing(hidden_size=24))
    even = backbone("electra", embedding_size=32)
    student, _ = narrowed(even, Narrowing(hidden_size=16))
    assert student.config.embedding_size == 16 and not hasattr(student, "embeddings_project")


def test_a_layer_with_a_part_that_nobody_knows_is_refused():
    model = backbone("bert")
    model.encoder.layer[1].extra = nn.Linear(32, 32)
    with pytest.raises(UnsupportedModelError, match=r"layer 2.*extra\.weight"):
        narrowed(model, Narrowing(hidden_size=16))


def test_even_layers_end_with_the_last():
    assert even_layers(3, 6) == [2, 4, 6] and even_layers(6, 12) == [2, 4, 6, 8, 10, 12]
    assert even_layers(4, 12) == [3, 6, 9, 12] and even_layers(4, 4) == [1, 2, 3, 4]
    for depth in range(1, 25):
        for count in range(1, depth + 1):
            layers = even_layers(count, depth)
            assert layers[-1] == depth and len(set(layers)) == count == len(layers)
            assert all(abs(n - i * depth / count) <= 0.5 for i, n in enumerate(layers, 1))


# -- attention scores


@pytest.mark.parametrize("family", ENCODERS)
def test_attention_scores_give_transformers_own_attention(family):
    model, inputs = alive(backbone(family)), batch()
    model.set_attn_implementation("eager")
    architecture, mask = architecture_of(model), inputs["attention_mask"]
    with torch.no_grad():
        expected = model(**inputs, output_attentions=True, output_hidden_states=True)
        for place, layer in enumerate(architecture.layers(model)):
            scores = architecture.attention_scores(layer, expected.hidden_states[place])
            shut = scores.masked_fill(mask[:, None, None, :] == 0, -torch.inf)
            assert torch.allclose(shut.softmax(-1), expected.attentions[place], atol=1e-6)


@pytest.mark.parametrize("family", DECODERS)
def test_families_that_do_not_say_refuse(family):
    model = backbone(family)
    architecture = architecture_of(model)
    with pytest.raises(UnsupportedModelError, match="attention_scores"):
        architecture.attention_scores(architecture.layers(model)[0], torch.zeros(1, 2, 32))
