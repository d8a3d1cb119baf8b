"""Sizes beyond all reason and values of another type are refused when the recipe is read, by their key."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_recipe

from prunekit.data.config import MOST_REVIEWS
from prunekit.errors import PrunekitError, RecipeError
from prunekit.planning import plan

FILES = {"task": "custom", "train_file": "a.tsv", "test_file": "b.tsv"}
# The largest that is taken, by key; stages' keys are those of the tiny recipe, or added to it.
MOST = {
    "slenderize.steps": 10_000,
    "slenderize.score_batches": 1_000_000,
    "slenderize.interval_epochs": 100_000,
    "slenderize.augmentation.copies": 100,
    "slenderize.augmentation.neighbours": 1_000,
    "finetune.epochs": 100_000,
    "assistant.epochs": 100_000,
    "assistant.features_first_epochs": 100_000,
    "recover.epochs": 100_000,
    "recover.features_epochs": 100_000,
    "evaluate.sequence_length": 10_000_000,
    "training.batch_size": 1_000_000,
    "training.eval_batch_size": 1_000_000,
    "training.max_length": 10_000_000,
    "training.threads": 1_024,
    "training.gradient_accumulation": 1_000_000,
    "data.train_size": 1_000_000_000,
    "data.validation_size": 1_000_000_000,
    "data.test_size": 1_000_000_000,
    "data.calibration_size": 1_000_000_000,
}


def with_value(key, value, output="nowhere"):
    part, *inner = key.split(".")
    for name in reversed(inner):
        value = {name: value}
    changes = {"data": FILES} if part == "data" else {}
    if part == "data":
        value = {"train_size": None, "validation_size": None, "test_size": None, **FILES, **value}
    return tiny_recipe(output, **{**changes, part: value})


@pytest.mark.parametrize(("key", "most"), MOST.items())
def test_sizes_have_an_upper_limit(key, most):
    with_value(key, most)
    for beyond in (most + 1, 10**12, 10**400):
        with pytest.raises(RecipeError, match=rf"(?s){key.replace('.', '[.]')}: .*"):
            with_value(key, beyond)


NO_NUMBERS = (
    st.booleans()
    | st.sampled_from([math.nan, math.inf, -math.inf, "a", "many"])
    | st.dictionaries(st.text(max_size=3), st.integers(), min_size=1, max_size=2)
    | st.lists(st.text(max_size=3), min_size=1, max_size=2)
)


@settings(max_examples=150, deadline=None)
@given(
    key=st.sampled_from(
        [
            *MOST,
            "finetune.learning_rate",
            "recover.temperature",
            "slenderize.features",
            "training.weight_decay",
        ]
    ),
    value=NO_NUMBERS,
)
def test_values_of_another_type_are_refused_by_their_key(key, value):
    with pytest.raises(RecipeError, match=rf"(?s){key.replace('.', '[.]')}"):
        with_value(key, value)


@pytest.mark.parametrize("key", ["train_size", "validation_size", "test_size", "calibration_size"])
def test_no_more_reviews_than_are_written_in_a_minute(key):
    with pytest.raises(RecipeError, match=rf"{key}: .* at most {MOST_REVIEWS:,}"):
        tiny_recipe("nowhere", data={key: MOST_REVIEWS + 1})
    with pytest.raises(RecipeError, match=r"in all"):
        tiny_recipe("nowhere", data={key: MOST_REVIEWS})


PARTS = [
    ("slenderize.scorer", {"name": "magnitude", "p": "2"}, r"magnitude\.p"),
    ("slenderize.scorer", {"name": "magnitude", "p": math.nan}, r"magnitude\.p"),
    ("slenderize.scorer", {"name": "random", "seed": [1]}, r"random\.seed"),
    ("slenderize.scheduler", {"name": "linear", "power": 3}, "no argument 'power'"),
    ("slenderize.budget", {"name": "target", "parameters": "2x", "sequence_length": "64"}, "'64'"),
    ("slenderize.budget", {"name": "target", "parameters": "2x", "sequence_length": math.inf}, "inf"),
    ("slenderize.budget", {"name": "target", "parameters": "2x", "example_inputs": "a"}, "holds no tensor"),
    ("slenderize.budget", {"name": "ratio", "keep": "0.5"}, "not a share"),
    ("slenderize.budget", {"name": "sizes", "heads": "2"}, "neither a whole number"),
]


@pytest.mark.parametrize(("key", "value", "words"), PARTS)
def test_arguments_of_parts_are_refused_before_any_compute(key, value, words):
    """As ``prunekit plan`` does it: the line of the recipe, the key, and what is wrong with the argument."""
    part, name = key.split(".")
    sizes = dict.fromkeys(("heads", "neurons", "rank")) if name == "budget" else {}
    with pytest.raises(PrunekitError, match=rf"(?s)recipe:\d+:\d+: {part}\.?.*{words}") as raised:
        plan(tiny_recipe("nowhere", slenderize={name: value, **sizes}))
    assert raised.value.exit_code == 2


def test_a_learning_rate_beyond_any_number():
    with pytest.raises(RecipeError, match="learning rate is beyond any number"):
        plan(tiny_recipe("nowhere", slenderize={"learning_rate_growth": 1e9, "steps": 1000}))
