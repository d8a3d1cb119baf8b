"""The multi-exit model: exits, early leaving, saving."""

from __future__ import annotations

import pytest
import torch
from families import ENCODERS, FAMILIES, backbone, batch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForSequenceClassification, pipeline

import prunekit
from prunekit.data import word_tokenizer
from prunekit.exits import MultiExitForSequenceClassification
from prunekit.granularities import registry as granularities


def model_of(family="bert", **arguments):
    options = {"num_labels": 3, "reads": "mean"} | arguments
    model = MultiExitForSequenceClassification.from_backbone(backbone(family), **options).eval()
    with torch.no_grad():  # spread the predictions, so that thresholds divide the batch
        for head in model.exits:
            head.classifier.weight.mul_(60)
    return model


def certain(model):
    """Exits that say how sure they are, in all degrees."""
    torch.manual_seed(5)
    torch.nn.init.normal_(model.add_exit_certainty().linear.weight)
    return model


def slim(model):
    for name in ("heads", "neurons", "rank"):
        for index, group in enumerate(granularities.build(name).groups(model)):
            group.keep(torch.arange(max(1, group.size // 2 - index)))
    return model


@pytest.mark.parametrize("reads", ["first", "mean", "learned"])
@pytest.mark.parametrize("head", ["linear", "pooled"])
def test_certainty_against_the_formula(head, reads):
    """One layer for all exits, on what each of them reads; logits stay as they are without it."""
    model, inputs = model_of(head=head, reads=reads, exit_layers=[1, 3]), batch()
    with torch.no_grad():
        before = model(**inputs, output_hidden_states=True)
        assert before.exit_certainty is None
        assert torch.equal(model.add_exit_certainty()(torch.randn(4, 32)), torch.full((4,), 0.5))
        linear = certain(model).certainty.linear
        output = model(**inputs, all_exits=True)
        assert torch.equal(output.exit_logits, before.exit_logits)
        for index, number in enumerate([1, 3]):
            read = model.exits[index].pool(before.hidden_states[number], inputs["attention_mask"])
            expected = 1 / (1 + torch.exp(-(read @ linear.weight[0] + linear.bias)))
            assert torch.allclose(output.exit_certainty[index], expected, atol=1e-6)
    assert sum(p.numel() for p in model.certainty.parameters()) == 32 + 1


def test_a_policy_that_reads_certainty_needs_it(tmp_path):
    model = model_of()
    with pytest.raises(ValueError, match="learn_to_exit"):
        model.set_exit_policy("learned")
    assert model.config.exit_policy is None
    model.add_exit_certainty()
    model.set_exit_policy("learned")
    assert model.config.exit_policy == {"name": "learned"}
    prunekit.save(model, tmp_path / "m")
    config = AutoConfig.from_pretrained(tmp_path / "m")
    assert config.exit_certainty
    config.exit_certainty = False
    with pytest.raises(ValueError, match="learn_to_exit"):
        MultiExitForSequenceClassification(config)


@pytest.mark.parametrize("reads", ["first", "mean", "learned"])
@pytest.mark.parametrize("head", ["linear", "pooled"])
def test_heads_against_the_formula(head, reads):
    model, inputs = model_of(head=head, reads=reads, exit_layers=[2, 3]), batch()
    if reads == "learned":
        with torch.no_grad():
            for one in model.exits:
                one.query.weight.normal_()
    output = model(**inputs, output_hidden_states=True)
    for index, number in enumerate([2, 3]):
        one = model.exits[index]
        for row in range(5):
            hidden = output.hidden_states[number][row][inputs["attention_mask"][row].bool()]
            if reads == "first":
                pooled = hidden[0]
            elif reads == "mean":
                pooled = hidden.mean(0)
            else:
                pooled = torch.softmax(hidden @ one.query.weight[0], 0) @ hidden
            if head == "pooled":
                pooled = one.dense(pooled)
            expected = one.classifier(torch.tanh(pooled))
            assert torch.allclose(output.exit_logits[index, row], expected, atol=1e-4)


def test_layers_behind_the_last_exit_are_dropped():
    model = model_of(exit_layers=[1, 2])
    assert len(model.backbone.encoder.layer) == 2
    assert model.config.num_hidden_layers == 2
    assert model(**batch()).exit_layer.tolist() == [2] * 5


@pytest.mark.parametrize("layers", [[], [0], [4], [1, 1]])
def test_impossible_exit_layers(layers):
    with pytest.raises(ValueError, match=r"1\.\.3"):
        model_of(exit_layers=layers)


def test_loss_is_the_mean_over_exits():
    model, inputs, labels = model_of(), batch(), torch.tensor([0, 1, 2, 2, 1])
    output = model(**inputs, labels=labels)
    expected = sum(torch.nn.functional.cross_entropy(e, labels) for e in output.exit_logits) / 3
    assert torch.allclose(output.loss, expected)


@pytest.mark.parametrize("family", ENCODERS)
@settings(max_examples=10, deadline=None)
@given(
    threshold=st.one_of(st.floats(0, 1.2), st.lists(st.floats(0, 1.2), min_size=3, max_size=3)),
    policy=st.sampled_from(["entropy", "confidence", "patience", "learned"]),
    seed=st.integers(0, 1000),
)
def test_a_batch_leaves_as_one_by_one_and_as_a_plain_loop(family, threshold, policy, seed):
    model, inputs = certain(slim(model_of(family))), batch(size=8, seed=seed)
    spec = (
        {"name": policy, "patience": 1} if policy == "patience" else {"name": policy, "threshold": threshold}
    )
    model.set_exit_policy(spec)
    with torch.no_grad():
        together = model(**inputs)
        output = model(**inputs, all_exits=True)
        every, certainty = output.exit_logits, output.exit_certainty
        for row in range(8):
            alone = model(
                **{
                    key: value[row : row + 1, : int(inputs["attention_mask"][row].sum())]
                    for key, value in inputs.items()
                }
            )
            taken = leaves_at(every[:, row], spec, certainty[:, row])
            near = is_near_a_threshold(every[:, row], spec, certainty[:, row])
            if not near:
                assert together.exit_layer[row] == alone.exit_layer[0] == taken + 1
                assert torch.allclose(together.logits[row], alone.logits[0], atol=1e-3)
                assert torch.allclose(together.logits[row], every[taken, row], atol=1e-3)


def at(threshold, index):
    return threshold[index] if isinstance(threshold, list) else threshold


def measure(logits, name, certainty):
    if name == "learned":
        return float(certainty)
    p = torch.softmax(logits.double(), -1)
    return float(p.max()) if name == "confidence" else -sum(float(q * q.log()) for q in p if q > 0)


def leaves_at(logits, spec, certainty):
    for index in range(len(logits) - 1):
        if spec["name"] == "patience":
            if index >= 1 and logits[index].argmax() == logits[index - 1].argmax():
                return index
        else:
            value, limit = (
                measure(logits[index], spec["name"], certainty[index]),
                at(spec["threshold"], index),
            )
            if value < limit if spec["name"] == "entropy" else value > limit:
                return index
    return len(logits) - 1


def is_near_a_threshold(logits, spec, certainty):
    if spec["name"] == "patience":
        top = logits.topk(2, dim=-1).values
        return bool((top[:, 0] - top[:, 1] < 1e-3).any())
    return any(
        abs(measure(one, spec["name"], certainty[i]) - at(spec["threshold"], i)) < 1e-3
        for i, one in enumerate(logits)
    )


@pytest.mark.parametrize("policy", ["entropy", "learned"])
@pytest.mark.parametrize("family", FAMILIES)
def test_saved_model_gives_the_same_bits(family, policy, tmp_path):
    model, inputs = slim(model_of(family, label_names=["a", "b", "c"])), batch()
    if policy == "learned":
        certain(model)
    model.set_exit_policy({"name": policy, "threshold": 0.6})
    with torch.no_grad():
        expected = model(**inputs)
        prunekit.save(model, tmp_path / "m")
        for loaded in (
            prunekit.load(tmp_path / "m"),
            AutoModelForSequenceClassification.from_pretrained(tmp_path / "m").eval(),
        ):
            output = loaded(**inputs)
            assert torch.equal(output.logits, expected.logits)
            assert torch.equal(output.exit_layer, expected.exit_layer)
            sure = [one(**inputs, all_exits=True).exit_certainty for one in (loaded, model)]
            # A file's tensors lie at odd addresses, where a product with one column rounds differently.
            assert sure[0] is sure[1] is None if policy == "entropy" else torch.allclose(*sure, atol=1e-6)
    assert AutoConfig.from_pretrained(tmp_path / "m").id2label == {0: "a", 1: "b", 2: "c"}


def test_pipeline_of_transformers(tmp_path):
    texts = ["the soup was good", "the film was a bore", "good"]
    tokenizer = word_tokenizer(texts)
    torch.manual_seed(0)
    inner = backbone("bert", vocab_size=len(tokenizer))
    model = MultiExitForSequenceClassification.from_backbone(inner, label_names=["neg", "pos"]).eval()
    model.set_exit_policy("entropy")
    prunekit.save(slim(model), tmp_path / "m", tokenizer)
    answers = pipeline("text-classification", model=str(tmp_path / "m"))(texts)
    for text, answer in zip(texts, answers, strict=True):
        logits = model(**tokenizer(text, return_tensors="pt")).logits[0].detach()
        assert answer["label"] == ["neg", "pos"][int(logits.argmax())]
        assert answer["score"] == pytest.approx(float(logits.softmax(-1).max()), abs=1e-5)


def test_weights_of_the_backbone_are_kept():
    inner = backbone("bert")
    before = {name: tensor.clone() for name, tensor in inner.state_dict().items() if "pooler" not in name}
    model = MultiExitForSequenceClassification.from_backbone(inner)
    after = model.backbone.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_leaving_without_a_policy_is_refused():
    with pytest.raises(ValueError, match="set_exit_policy"):
        model_of()(**batch(), all_exits=False)
