"""The engine gives what the model gives one example at a time, whatever runs it and in whatever batches."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch
from families import backbone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prunekit.exits import MultiExitForSequenceClassification
from prunekit.exits.policies import registry as policies
from prunekit.granularities import registry as granularities
from prunekit.runtime import Engine, export, load

# Exits on all layers, on some; reading the first, the last, all tokens; segments; certainty.
MODELS = {
    "bert": {"reads": "first", "certainty": True},
    "roberta": {"reads": "mean", "exit_layers": [2, 3]},
    "llama": {"reads": "last"},
}
BACKENDS = ["torch"] + [
    name for name, package in (("openvino", "openvino"), ("onnx", "onnxruntime")) if find_spec(package)
]
POLICIES = st.one_of(
    st.none(),
    st.builds(lambda t: {"name": "entropy", "threshold": t}, st.floats(0, 1.1)),
    st.builds(lambda t: {"name": "confidence", "threshold": t}, st.floats(0.3, 1)),
    st.builds(lambda p: {"name": "patience", "patience": p}, st.integers(1, 2)),
)


@cache
def model(family: str) -> MultiExitForSequenceClassification:
    given = dict(MODELS[family])
    certainty = given.pop("certainty", False)
    made = MultiExitForSequenceClassification.from_backbone(backbone(family), num_labels=3, **given).eval()
    for granularity in ("heads", "neurons"):
        for index, group in enumerate(granularities.build(granularity).groups(made)):
            group.keep(torch.arange(max(1, group.size // 2 - index)))
    with torch.no_grad():
        for head in made.exits:
            head.classifier.weight.mul_(80)
        if certainty:
            made.add_exit_certainty().linear.weight.normal_()
    return made


@cache
def folder(family: str, backend: str) -> Path:
    path = Path(mkdtemp()) / "export"
    export(model(family), path, backend)
    return path


@cache
def engine_source(family: str, backend: str):
    return model(family) if backend == "torch" else folder(family, backend)


def one_by_one(family: str, examples: list[dict[str, list[int]]], policy):
    """Of each example: its layer, its logits there, and whether rounding could move it to another exit."""
    made = model(family)
    found = []
    for example in examples:
        inputs = {name: torch.tensor([ids]) for name, ids in example.items()}
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        with torch.no_grad():
            output = made(**inputs, all_exits=True)
        logits, places = output.exit_logits, [-1, -1, -1]
        if policy is not None:
            noise = torch.linspace(-1, 1, logits.shape[-1]) * 3e-5
            part = policies.build(policy)
            every = (logits, logits + noise, logits - noise)
            places = [int(part.exits(moved, output.exit_certainty)) for moved in every]
        layer = made.config.exit_layers[places[0]]
        found.append((layer, logits[places[0], 0], len(set(places)) > 1))
    return zip(*found, strict=True)


def examples_of(family: str, lengths: list[int], seed: int) -> list[dict[str, list[int]]]:
    generator = np.random.default_rng(seed)
    made = []
    for length in lengths:
        example = {"input_ids": generator.integers(5, 90, length).tolist()}
        if family == "bert":
            example["token_type_ids"] = (np.arange(length) > length // 2).astype(int).tolist()
        made.append(example)
    return made


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", MODELS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=40),
    seed=st.integers(0, 1000),
    policy=POLICIES,
    batch_size=st.integers(1, 9),
    compact=st.sampled_from([None, True, False]),
    refill=st.sampled_from([None, True, False]),
    wait=st.integers(1, 20),
)
def test_answers_and_exits_are_those_of_one_example_at_a_time(
    family, backend, lengths, seed, policy, batch_size, compact, refill, wait
):
    examples = examples_of(family, lengths, seed)
    engine = load(
        engine_source(family, backend),
        policy=policy,
        batch_size=batch_size,
        compact=compact,
        refill=refill,
        wait=wait,
    )
    answers = list(engine.run(examples))
    layers, logits, near = one_by_one(family, examples, policy)
    assert len(answers) == len(examples)
    assert not engine
    for answer, layer, expected, is_near in zip(answers, layers, logits, near, strict=True):
        if not is_near:
            assert answer.exit_layer == layer
            tolerance = 1e-5 if backend == "torch" else 1e-4
            scale = max(1.0, float(expected.abs().max()))
            assert np.abs(answer.logits - expected.numpy()).max() <= tolerance * scale


def test_the_learned_policy_reads_certainty():
    examples = examples_of("bert", [3, 9, 30, 12, 7] * 4, 5)
    for backend in BACKENDS:
        policy = {"name": "learned", "threshold": 0.6}
        engine = load(engine_source("bert", backend), policy=policy, batch_size=4)
        answers = list(engine.run(examples))
        layers, _, _ = one_by_one("bert", examples, policy)
        assert len(set(layers)) > 1
        assert [answer.exit_layer for answer in answers] == list(layers)


class Counting:
    """Counts the rows it runs; an example's first token says after which graph it is sure."""

    graphs = 4
    description = "counting"

    def __init__(self) -> None:
        self.runs: list[tuple[int, int]] = []

    def first(self, inputs, notes):
        return self._step(
            0, inputs["input_ids"][:, :1].astype(np.float32)[..., None], inputs["attention_mask"]
        )

    def following(self, number, hidden, mask, notes):
        return self._step(number, hidden, mask)

    def _step(self, number, hidden, mask):
        from prunekit.runtime.backends import Step

        self.runs.append((number, len(hidden)))
        leaves = hidden[:, 0, 0] <= number  # the first token says where
        logits = np.where(leaves[:, None], [[50.0, -50.0]], [[0.0, 0.0]]).astype(np.float32)
        return Step(hidden, logits, None)

    def gather(self, parts, tokens):
        return np.concatenate([hidden[rows] for hidden, rows in parts])

    def kept(self, hidden):
        return hidden.copy()


def test_batches_are_filled_up_and_nobody_waits_for_ever():
    generator = np.random.default_rng(0)
    examples = [{"input_ids": [int(depth)] * 4} for depth in generator.integers(0, 4, 400)]
    counts = {}
    for refill in (False, True):
        backend = Counting()
        engine = Engine(
            backend,
            [1, 2, 3, 4],
            {"name": "entropy", "threshold": 0.1},
            batch_size=8,
            compact=True,
            refill=refill,
        )
        layers = [answer.exit_layer for answer in engine.run(examples)]
        assert layers == [example["input_ids"][0] + 1 for example in examples]
        counts[refill] = len(backend.runs)
        assert max(rows for _, rows in backend.runs) <= 8
    # 400 + 300 + 200 + 100 examples go through the four graphs, eight at a time.
    assert counts[True] <= 1.15 * 1000 / 8 < counts[False]


def test_a_batch_waits_for_at_most_so_many_runs():
    backend = Counting()
    engine = Engine(
        backend,
        [1, 2, 3, 4],
        {"name": "entropy", "threshold": 0.1},
        batch_size=4,
        compact=True,
        refill=True,
        wait=3,
    )
    engine.add("slow", {"input_ids": [3, 3]})
    for number in range(200):
        engine.add(number, {"input_ids": [0, 0]})
    order = []
    while engine:
        order += [key for key, _ in engine.step()]
    assert order.index("slow") <= 4 * 4 * 4


@pytest.mark.parametrize(("argument", "value"), [("batch_size", 0), ("wait", 0)])
def test_numbers_that_make_no_sense(argument, value):
    with pytest.raises(ValueError, match=argument):
        Engine(Counting(), [1, 2, 3, 4], **{argument: value})


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("example", "words"),
    [
        ({"input_ids": []}, "0 tokens"),
        ({"input_ids": [5] * 65}, "65 tokens"),
        ({"input_ids": [5, 90]}, "input_ids that the model does not have: 0 to 89"),
        ({"input_ids": [5, -1]}, "input_ids that the model does not have"),
        ({"input_ids": [5, 6], "token_type_ids": [0, 2]}, "token_type_ids that the model does not have"),
    ],
)
def test_examples_that_the_model_cannot_read(backend, example, words):
    engine = load(engine_source("bert", backend))
    with pytest.raises(ValueError, match=words):
        list(engine.run([{"input_ids": [5, 6, 7]}, example]))
    assert len(list(engine.run([{"input_ids": [5, 6, 7]}]))) == 1


def test_answers_that_were_not_taken_are_not_those_of_the_next_examples():
    engine = load(model("bert"), batch_size=2)
    assert next(engine.run(examples_of("bert", [5] * 9, 0))) is not None
    examples = examples_of("bert", [7, 3, 9], 1)
    _, logits, _ = one_by_one("bert", examples, None)
    for answer, expected in zip(engine.run(examples), logits, strict=True):
        assert np.abs(answer.logits - expected.numpy()).max() < 1e-4
