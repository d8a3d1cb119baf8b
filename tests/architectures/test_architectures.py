"""The adapters against the families' own forward passes."""

from __future__ import annotations

import pytest
import torch
from families import DECODERS, ENCODERS, FAMILIES, backbone, batch

from prunekit.architectures import architecture_of, reshape, select_rows, shape_of


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
def test_layers_one_by_one_equal_the_whole_forward(family, attention):
    model, inputs = backbone(family), batch()
    model.set_attn_implementation(attention)
    architecture = architecture_of(model)
    with torch.no_grad():
        expected = model(**inputs).last_hidden_state
        hidden, contexts = architecture.embed(model, inputs)
        for layer, context in zip(architecture.layers(model), contexts, strict=True):
            hidden = architecture.run_layer(layer, hidden, context)
        if family in DECODERS:
            hidden = model.norm(hidden)
    real = inputs["attention_mask"].bool()
    assert torch.allclose(hidden[real], expected[real], atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_of_a_batch_can_go_on_alone(family):
    model, inputs = backbone(family), batch()
    architecture = architecture_of(model)
    rows = torch.tensor([0, 3])
    with torch.no_grad():
        hidden, contexts = architecture.embed(model, inputs)
        whole = architecture.run_layer(architecture.layers(model)[0], hidden, contexts[0])
        part = architecture.run_layer(
            architecture.layers(model)[0], hidden[rows], select_rows(contexts, rows, len(hidden))[0]
        )
    real = inputs["attention_mask"][rows].bool()
    assert torch.allclose(whole[rows][real], part[real], atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_shape_round_trip(family):
    model = backbone(family)
    shape = shape_of(model)
    assert type(shape).from_dict(shape.to_dict()) == shape
    other = backbone(family, seed=1)
    reshape(other, shape)
    assert shape_of(other) == shape


@pytest.mark.parametrize("family", ENCODERS)
def test_segments_are_passed_on(family):
    if family == "distilbert":
        pytest.skip("has no segment embeddings")
    changes = {"type_vocab_size": 2}
    model, inputs = backbone(family, **changes), batch()
    segments = torch.zeros_like(inputs["input_ids"])
    segments[:, 3:] = 1
    hidden, _ = architecture_of(model).embed(model, inputs | {"token_type_ids": segments})
    with torch.no_grad():
        states = model(**inputs, token_type_ids=segments, output_hidden_states=True).hidden_states
    assert torch.allclose(hidden, states[0], atol=1e-6)
