"""What exits read, whichever side is padded: every row of a batch is answered as it is alone."""

from __future__ import annotations

import warnings

import pytest
import torch
from families import FAMILIES, backbone
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, MistralConfig

import prunekit
from prunekit.architectures import architecture_of, first_token, last_token
from prunekit.exits import MultiExitForSequenceClassification

CAUSAL = ("llama", "mistral")


def model_of(family, reads, **arguments):
    torch.manual_seed(3)
    model = MultiExitForSequenceClassification.from_backbone(
        backbone(family), num_labels=3, reads=reads, **arguments
    ).eval()
    with torch.no_grad():
        for head in model.exits:
            head.classifier.weight.mul_(40)
            if head.query is not None:
                torch.nn.init.normal_(head.query.weight)
    return model


def padded(rows, side, pad):
    """Rows of ids as a batch, padded on one side, and its mask."""
    width = max(map(len, rows)) + 2
    ids, mask = torch.full((len(rows), width), pad), torch.zeros(len(rows), width, dtype=torch.int64)
    for place, row in enumerate(rows):
        at = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        ids[place, at], mask[place, at] = torch.tensor(row), 1
    return ids, mask


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=9).filter(any), min_size=1, max_size=5))
def test_first_and_last_token_against_a_loop(rows):
    width = max(map(len, rows))
    mask = torch.tensor([[int(x) for x in row] + [0] * (width - len(row)) for row in rows])
    assert first_token(mask).tolist() == [row.index(True) for row in rows]
    assert last_token(mask).tolist() == [len(row) - 1 - row[::-1].index(True) for row in rows]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("reads", ["first", "last", "mean", "learned"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_of_a_padded_batch_is_answered_as_alone(family, reads, side):
    if family in CAUSAL and reads == "first":
        pytest.skip("refused: see below")
    model = model_of(family, reads)
    pad = model.config.backbone.pad_token_id or 0
    rows = [[5, 9, 7], [11, 6, 8, 20, 31, 14], [40], [12, 33, 5, 6]]
    ids, mask = padded(rows, side, pad)
    with torch.no_grad():
        together = model(ids, mask, all_exits=True).exit_logits
        for place, row in enumerate(rows):
            alone = model(torch.tensor([row]), all_exits=True).exit_logits[:, 0]
            assert torch.allclose(together[:, place], alone, atol=2e-5), (place, together[:, place] - alone)
        model.set_exit_policy({"name": "confidence", "threshold": 0.6})
        early = model(ids, mask)
        for place, row in enumerate(rows):
            alone = model(torch.tensor([row]))
            assert early.exit_layer[place] == alone.exit_layer[0]
            assert torch.allclose(early.logits[place], alone.logits[0], atol=2e-5)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "llama"])
def test_without_a_mask_padding_at_the_ends_is_padding(family, side):
    model = model_of(family, "mean")
    pad = model.config.backbone.pad_token_id
    if pad is None:
        pytest.skip("has no padding token")
    ids, mask = padded([[5, 9, 7], [11, 6, 8, 20]], side, pad)
    with torch.no_grad():
        assert torch.equal(model(ids).exit_logits, model(ids, mask).exit_logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_exits_read_what_the_last_layer_gives_to_a_head(family):
    """Of the last layer that is transformers' own last hidden state: after the final norm of a decoder."""
    model = model_of(family, "last")
    ids = torch.tensor([[5, 9, 7, 11]])
    seen = []
    model.exits[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(ids, all_exits=True)
        expected = model.backbone(input_ids=ids).last_hidden_state
    assert torch.allclose(seen[0], expected, atol=1e-5)
    assert model.config.exit_norm is (family in CAUSAL)


def test_a_sliding_window_is_followed():
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=3, max_position_embeddings=64,
    )  # fmt: skip
    from transformers import AutoModel

    bare = AutoModel.from_config(config).eval()
    ids = torch.randint(3, 60, (2, 12))
    architecture = architecture_of(bare)
    with torch.no_grad():
        expected = bare(input_ids=ids).last_hidden_state
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        hidden, contexts = architecture.embed(bare, inputs)
        for layer, context in zip(architecture.layers(bare), contexts, strict=True):
            hidden = architecture.run_layer(layer, hidden, context)
        assert torch.allclose(architecture.finish(bare, hidden), expected, atol=1e-5)


def test_a_causal_model_reads_its_last_token_by_default_and_is_warned_of_the_first():
    assert MultiExitForSequenceClassification.from_backbone(backbone("llama")).config.exit_reads == "last"
    assert MultiExitForSequenceClassification.from_backbone(backbone("bert")).config.exit_reads == "first"
    with pytest.warns(UserWarning, match="first token"):
        MultiExitForSequenceClassification.from_backbone(backbone("llama"), reads="first")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MultiExitForSequenceClassification.from_backbone(backbone("llama"), reads="mean")


def test_longer_texts_are_cut_to_what_the_model_takes(caplog):
    model = model_of("bert", "mean")
    limit = model.config.max_position_embeddings
    rows = [list(range(3, 3 + limit + 5)), [4, 5, 6]]
    rows[0] = [3 + token % 40 for token in rows[0]]
    ids, mask = padded(rows, "right", 0)
    with torch.no_grad():
        said = model(ids, mask).exit_logits
        # As a tokenizer cuts: the beginning, and the token that ends a text.
        assert torch.allclose(
            said[:, 0],
            model(torch.tensor([[*rows[0][: limit - 1], rows[0][-1]]])).exit_logits[:, 0],
            atol=1e-5,
        )
        assert torch.allclose(said[:, 1], model(torch.tensor([rows[1]])).exit_logits[:, 0], atol=1e-5)
        left, mask = padded(rows, "left", 0)
        assert torch.allclose(model(left, mask).exit_logits, said, atol=1e-5)


def test_every_keyword_is_taken_or_refused():
    model, ids = model_of("bert", "mean"), torch.tensor([[5, 6, 7]])
    for name in ("position_ids", "inputs_embeds", "head_mask", "past_key_values", "anything"):
        with pytest.raises(TypeError, match=name):
            model(ids, **{name: torch.zeros(1)})
        model(ids, **{name: None})
    with pytest.raises(TypeError, match="output_attentions"):
        model(ids, output_attentions=True)
    dictionary, plain = model(ids), model(ids, return_dict=False)
    assert isinstance(plain, tuple)
    assert torch.equal(plain[0], dictionary.logits)


def test_what_is_no_classifier_is_refused():
    ids = torch.tensor([[5, 6, 7]])
    one = MultiExitForSequenceClassification.from_backbone(backbone("bert"), num_labels=1)
    with pytest.raises(ValueError, match="has one class"):
        one(ids, labels=torch.zeros(1, dtype=torch.int64))
    many = MultiExitForSequenceClassification.from_backbone(backbone("bert"), num_labels=3)
    with pytest.raises(ValueError, match="numbers of classes"):
        many(ids, labels=torch.tensor([[1.0, 1.0, 0.0]]))
    many.config.problem_type = "multi_label_classification"
    with pytest.raises(ValueError, match="multi_label_classification"):
        many(ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_checkpointing_changes_no_gradient(family):
    gradients = []
    for checkpointing in (False, True):
        model = model_of(family, "mean", dropout=0.0).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if checkpointing:
            model.gradient_checkpointing_enable()
        ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
        with prunekit.gradient_equilibrium(model):
            model(ids, labels=torch.tensor([0, 2])).loss.backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(gradients[0][n], gradients[1][n], atol=1e-6) for n in gradients[0])


def test_the_loss_is_the_mean_of_the_exits_cross_entropies():
    model, ids, labels = model_of("bert", "mean"), torch.tensor([[5, 6], [7, 8]]), torch.tensor([0, 2])
    output = model(ids, labels=labels)
    each = [cross_entropy(logits, labels) for logits in output.exit_logits]
    assert torch.allclose(output.loss, sum(each) / len(each))


def test_a_task_model_is_no_backbone():
    from transformers import AutoModelForSequenceClassification

    task = AutoModelForSequenceClassification.from_config(backbone("bert").config)
    with pytest.raises(prunekit.errors.UnsupportedModelError, match="base_model"):
        MultiExitForSequenceClassification.from_backbone(task)


def test_an_old_decoder_reads_without_the_norm():
    """Models that were saved before exits read through it answer as they did."""
    model = model_of("llama", "mean")
    model.config.exit_norm = False
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        output = model(ids, output_hidden_states=True)
        read = output.hidden_states[1].mean(dim=1)
        expected = model.exits[0].classifier(torch.tanh(read))
    assert torch.allclose(output.exit_logits[0], expected, atol=1e-5)
    assert isinstance(model.config.backbone, LlamaConfig)
