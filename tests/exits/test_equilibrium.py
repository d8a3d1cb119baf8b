"""Eq. 3 in one backward pass against L separate ones, in float64."""

from __future__ import annotations

import pytest
import torch
from families import DECODERS, FAMILIES, backbone, batch
from torch.nn.functional import cross_entropy

from prunekit.exits import MultiExitForSequenceClassification, gradient_equilibrium, scale_gradient


def losses(model, inputs, labels):
    logits = model(**inputs, all_exits=True).exit_logits
    return [cross_entropy(exit_logits, labels) for exit_logits in logits]


def layer_parameters(model):
    architecture = model._architecture
    for number, layer in enumerate(architecture.layers(model.backbone), 1):
        for name, parameter in layer.named_parameters():
            yield number, name, parameter


@pytest.mark.parametrize("exit_layers", ["all", [1, 3], [2, 3], "last"])
@pytest.mark.parametrize("family", FAMILIES)
def test_one_pass_equals_separate_passes(family, exit_layers):
    model = MultiExitForSequenceClassification.from_backbone(
        backbone(family), num_labels=3, exit_layers=exit_layers, reads="mean"
    )
    model = model.double().eval()
    inputs, labels = batch(), torch.tensor([0, 2, 1, 1, 0])
    numbers = model.config.exit_layers

    separate = []
    for index in range(len(numbers)):
        model.zero_grad()
        losses(model, inputs, labels)[index].backward()
        separate.append(
            {(k, name): p.grad.clone() for k, name, p in layer_parameters(model) if p.grad is not None}
        )
    model.zero_grad()
    with gradient_equilibrium(model):
        sum(losses(model, inputs, labels)).backward()
    for k, name, parameter in layer_parameters(model):
        behind = [i for i, number in enumerate(numbers) if number >= k]
        expected = sum(separate[i][k, name] for i in behind) / len(behind)
        # Llama's norm computes in float32 whatever the model's type, so its rounding is that of float32.
        tolerance = 1e-6 if family in DECODERS else 1e-9
        assert (parameter.grad - expected).norm() <= tolerance * expected.norm() + 1e-18, (k, name)
    assert model.gradient_equilibrium is False


def test_classifiers_keep_a_share_of_their_own_gradient():
    """An exit's own weights lie behind no scaled identity but their layer's: they are not rescaled."""
    model = MultiExitForSequenceClassification.from_backbone(backbone("bert"), num_labels=2).double().eval()
    inputs, labels = batch(), torch.tensor([0, 1, 1, 0, 0])
    sum(losses(model, inputs, labels)).backward()
    plain = [head.classifier.weight.grad.clone() for head in model.exits]
    model.zero_grad()
    with gradient_equilibrium(model):
        sum(losses(model, inputs, labels)).backward()
    for head, expected in zip(model.exits, plain, strict=True):
        assert torch.allclose(head.classifier.weight.grad, expected, rtol=1e-12)


def test_scale_gradient_is_the_identity_forward():
    value = torch.randn(4, requires_grad=True)
    scaled = scale_gradient(value, 0.25)
    assert torch.equal(scaled, value)
    scaled.sum().backward()
    assert torch.equal(value.grad, torch.full((4,), 0.25))


def test_the_loss_of_a_hidden_state_is_scaled_on_its_way_too():
    """Of layer i: it reaches layer k times (L - i + 1) / (L - k + 1), the embeddings as layer 1."""
    model = MultiExitForSequenceClassification.from_backbone(backbone("bert"), reads="mean").double().eval()
    inputs, depth = batch(), 3
    layers = model.backbone.encoder.layer
    weights = [layer.output.dense.weight for layer in layers] + [
        model.backbone.embeddings.word_embeddings.weight
    ]
    gradients = {}
    for balanced in (False, True):
        with gradient_equilibrium(model, balanced):
            states = model(**inputs, output_hidden_states=True).hidden_states
            gradients[balanced] = [
                torch.autograd.grad(state.square().sum(), weights, retain_graph=True, allow_unused=True)
                for state in states
            ]
    for i in range(1, depth + 1):
        for k, (plain, scaled) in enumerate(zip(gradients[False][i], gradients[True][i], strict=True), 1):
            reached = k if k <= depth else 1
            if plain is None:
                assert scaled is None and k > i
                continue
            factor = (depth - i + 1) / (depth - reached + 1)
            assert torch.allclose(scaled, plain * factor, rtol=1e-8, atol=1e-12), (i, k)
