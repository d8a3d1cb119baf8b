"""The disk that a plan counts on for its teachers' answers, against hand counts."""

from __future__ import annotations

import pytest
from tiny import tiny_recipe

from prunekit.data import encode, load_task
from prunekit.errors import RecipeError
from prunekit.models import load_tokenizer
from prunekit.planning import plan

EXAMPLES, HIDDEN, STATES, CLASSES = 100, 16, 3, 2  # of the tiny recipe: two layers and the embeddings


def planned(tmp_path, **changes):
    recipe = tiny_recipe(tmp_path, **changes)
    data = load_task(recipe.data, recipe.seed)
    tokenizer = load_tokenizer(recipe.model, data.train["text"])
    task = encode(data, tokenizer, recipe.training.max_length)
    return plan(recipe, task, vocab_size=len(tokenizer)), sum(map(len, task.train["input_ids"]))


def nbytes(tokens, exits, times=1, joined=0):
    """Hidden states and logits in float32, and where each example begins and the last ends in int64."""
    examples, tokens = times * EXAMPLES, (times + joined) * tokens
    return 4 * tokens * STATES * HIDDEN + 4 * examples * exits * CLASSES + 8 * (examples + 1)


def test_one_teacher_is_counted_once(tmp_path):
    made, tokens = planned(tmp_path)
    assert made.cached == {"assistant": nbytes(tokens, exits=2)}


def test_half_precision_is_counted(tmp_path):
    half = {"cache_precision": "float16"}
    made, tokens = planned(tmp_path, slenderize=half, recover=half)
    saved = 2 * tokens * STATES * HIDDEN
    assert list(made.cached.values()) == [nbytes(tokens, exits=2) - saved]
    made, _ = planned(tmp_path, recover=half)
    assert sorted(made.cached.values()) == [nbytes(tokens, exits=2) - saved, nbytes(tokens, exits=2)]


def test_each_teacher_is_counted(tmp_path):
    made, tokens = planned(tmp_path, recover={"teacher": "original"})
    assert made.cached == {"assistant": nbytes(tokens, exits=2), "original": nbytes(tokens, exits=1)}


@pytest.mark.parametrize("student", [{"layers": 1}, {"hidden_size": 8, "heads": 4, "neurons": 16}])
def test_a_teacher_is_counted_as_it_is_whatever_its_student_is(tmp_path, student):
    stages = ["finetune", "student", "distill", "evaluate"]
    made, tokens = planned(tmp_path, student=student, distill={"hidden": 1}, stages=stages)
    assert made.cached == {"original": nbytes(tokens, exits=1)}


@pytest.mark.parametrize(("slenderize", "recover"), [("off", "auto"), ("auto", "off"), ("off", "off")])
def test_what_is_not_cached_is_not_counted(tmp_path, slenderize, recover):
    made, tokens = planned(tmp_path, slenderize={"cache": slenderize}, recover={"cache": recover})
    cached = {} if slenderize == recover else {"assistant": nbytes(tokens, exits=2)}
    assert made.cached == cached


@pytest.mark.parametrize("predictions", [0, 1])
def test_exits_that_learn_predictions_have_a_teacher(tmp_path, predictions):
    stages = ["finetune", "train_exits", "evaluate"]
    made, tokens = planned(tmp_path, train_exits={"predictions": predictions}, stages=stages)
    assert made.cached == ({"original": nbytes(tokens, exits=1)} if predictions else {})


def test_answers_to_copies_are_counted(tmp_path):
    made, tokens = planned(tmp_path, recover={"augmentation": {"copies": 3}})
    assert sorted(made.cached.values()) == [nbytes(tokens, exits=2), nbytes(tokens, exits=2, times=4)]


def test_joined_copies_are_counted_twice_as_long(tmp_path):
    copies = {"copies": 3, "singles": ["join", "keep"], "pairs": ["keep", "swap"]}
    made, tokens = planned(tmp_path, recover={"augmentation": copies})
    assert nbytes(tokens, exits=2, times=4, joined=2) in made.cached.values()


def test_equal_copies_are_answered_once(tmp_path):
    same = {"augmentation": {"copies": 3}}
    made, tokens = planned(tmp_path, slenderize=same, recover=same)
    assert list(made.cached.values()) == [nbytes(tokens, exits=2, times=4)]


@pytest.mark.parametrize("cache", ["auto", "off"])
def test_single_texts_cannot_only_be_rearranged(tmp_path, cache):
    with pytest.raises(RecipeError, match=r"recover.*replaced: 0, and \.singles keeps every text"):
        planned(tmp_path, recover={"cache": cache, "augmentation": {"replaced": 0, "pairs": ["swap"]}})


def test_nor_can_those_of_an_assistant(tmp_path):
    with pytest.raises(RecipeError, match=r"assistant.*replaced: 0, and \.singles keeps every text"):
        planned(tmp_path, assistant={"augmentation": {"replaced": 0, "pairs": ["swap"]}})
