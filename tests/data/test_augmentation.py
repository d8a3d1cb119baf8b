"""Copies of the training examples, against hand-made neighbours and the texts they come from."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from prunekit.data import AugmentationConfig, TaskData, augmented, encode, near_tokens, word_tokenizer

WORDS = [f"w{number:02d}" for number in range(30)]


def task_of(rows, pairs=None):
    columns = {"text": rows, "label": [number % 2 for number in range(len(rows))]}
    if pairs is not None:
        columns["text_pair"] = pairs
    data = datasets.Dataset.from_dict(columns)
    return TaskData("t", data, data.select([0]), data.select([0]), ["no", "yes"], ["accuracy"])


@pytest.fixture(scope="module")
def tokenizer():
    return word_tokenizer([" ".join(WORDS)])


def sentences(count, seed, longest=12):
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, draw.integers(1, longest + 1))) for _ in range(count)]


def made(tokenizer, config, pairs=False, count=40, max_length=64, seed=3):
    task = encode(task_of(sentences(count, 1), sentences(count, 2) if pairs else None), tokenizer, max_length)
    embedding = torch.randn(len(tokenizer), 8, generator=torch.Generator().manual_seed(0))
    examples = augmented(
        task, tokenizer, embedding, AugmentationConfig(**config), max_length=max_length, seed=seed
    )
    return task, examples, embedding


def ids(rows):
    return [row.tolist() for row in rows["input_ids"]]


@given(seed=st.integers(0, 1000), count=st.integers(1, 8), size=st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_neighbours_are_those_of_a_loop_over_cosines(seed, count, size):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "##ing", "##ed", "##s", "[unused7]"]
    words += [f"word{number}" for number in range(size)]

    class Tokenizer:
        all_special_ids = (0, 1, 2, 3, 4)

        def convert_ids_to_tokens(self, numbers):
            return [words[number] for number in numbers]

    table = np.random.default_rng(seed).normal(size=(len(words), 4))
    near = near_tokens(torch.tensor(table), Tokenizer(), count)
    assert near.shape == (len(words), count)
    for token, word in enumerate(words):
        others = [
            other
            for other in range(5, len(words))
            if other not in (token, 8) and words[other].startswith("##") == word.startswith("##")
        ]
        cosine = {
            other: table[token] @ table[other] / np.linalg.norm(table[token]) / np.linalg.norm(table[other])
            for other in others
        }
        wanted = [] if token < 5 else sorted(others, key=lambda other: -cosine[other])[:count]
        assert near[token].tolist() == wanted + [token] * (count - len(wanted)), word


def test_neighbours_are_looked_for_where_asked():
    tokenizer = word_tokenizer([" ".join(WORDS)])
    table = torch.randn(len(tokenizer), 8, generator=torch.Generator().manual_seed(1))
    every = near_tokens(table, tokenizer, 3)
    some = near_tokens(table, tokenizer, 3, torch.tensor([6, 2, 9]))
    for token in range(len(tokenizer)):
        assert some[token].tolist() == (every[token].tolist() if token in (6, 9) else [token] * 3)


def test_the_training_examples_come_first_and_copies_have_no_label(tokenizer):
    task, examples, _ = made(tokenizer, {"copies": 2})
    assert (len(examples.rows), examples.copies) == (120, 2)
    assert [int(number) for number in examples.rows["index"]] == list(range(120))
    assert ids(examples.rows.select(range(40))) == ids(task.train)
    labels = [int(label) for label in examples.rows["labels"]]
    assert labels == [number % 2 for number in range(40)] + [-100] * 80
    assert examples.lengths.tolist() == [len(row) for row in ids(examples.rows)]
    assert examples.lengths[40:80].tolist() == task.lengths("train").tolist()


def test_what_differs_in_a_copy_is_a_neighbour(tokenizer):
    config = {"copies": 3, "replaced": 1.0, "neighbours": 4}
    task, examples, embedding = made(tokenizer, config, count=200)
    near = near_tokens(embedding, tokenizer, 4)
    shares, special = [], set(tokenizer.all_special_ids)
    for number, copy in enumerate(ids(examples.rows)[200:]):
        pairs = list(zip(ids(task.train.select([number % 200]))[0], copy, strict=True))
        changed = [(old, new) for old, new in pairs if old != new]
        assert all(new in near[old] for old, new in changed)
        assert not any(old in special or new in special for old, new in changed)
        shares += [sum(old != new for old, new in pairs) / sum(old not in special for old, _ in pairs)]
    # Evenly drawn from 0 to 1, and no word is its own neighbour: 600 draws of standard deviation 0.29
    # plus what the words of a sentence add, at most as much again.
    assert abs(np.mean(shares) - 0.5) < 0.07
    assert min(shares) < 0.1
    assert max(shares) > 0.9


@pytest.mark.parametrize("replaced", [0.1, 0.4])
def test_no_more_is_replaced_than_asked_for_on_average(tokenizer, replaced):
    task, examples, _ = made(tokenizer, {"copies": 3, "replaced": replaced}, count=300)
    originals = ids(task.train) * 3
    words = sum(len(row) - 2 for row in originals)
    changed = sum(
        old != new
        for before, after in zip(originals, ids(examples.rows)[300:], strict=True)
        for old, new in zip(before, after, strict=True)
    )
    assert changed / words == pytest.approx(replaced / 2, rel=0.2)


def test_pairs_are_kept_swapped_and_mixed_in_turn(tokenizer):
    config = {"copies": 5, "replaced": 0, "pairs": ["keep", "swap", "mix"]}
    task, examples, _ = made(tokenizer, config, pairs=True)
    texts = task.task.train
    copies = [examples.rows.select(range(40 * (copy + 1), 40 * (copy + 2))) for copy in range(5)]
    swapped = tokenizer(list(texts["text_pair"]), list(texts["text"]))
    for copy in (0, 3):
        assert ids(copies[copy]) == ids(task.train)
    for copy in (1, 4):
        assert ids(copies[copy]) == swapped["input_ids"]
        assert [row.tolist() for row in copies[copy]["token_type_ids"]] == swapped["token_type_ids"]
    first = [tokenizer.decode(row).split(" [SEP]")[0] for row in ids(copies[2])]
    second = [tokenizer.decode(row).split("[SEP] ")[1].removesuffix(" [SEP]") for row in ids(copies[2])]
    assert first == [f"[CLS] {text}" for text in texts["text"]]
    assert sorted(second) == sorted(texts["text_pair"])
    assert second != list(texts["text_pair"])


def test_arrangements_are_for_pairs_alone(tokenizer):
    task, examples, _ = made(tokenizer, {"copies": 1, "replaced": 0, "pairs": ["swap"]})
    assert ids(examples.rows)[40:] == ids(task.train)


def test_single_texts_are_kept_and_joined_in_turn(tokenizer):
    task, examples, _ = made(tokenizer, {"copies": 3, "replaced": 0, "singles": ["join", "keep"]})
    kept, joined = ids(task.train), [ids(examples.rows)[40 * (copy + 1) :][:40] for copy in (0, 2)]
    assert ids(examples.rows)[80:120] == kept
    for copy in joined:
        others = []
        for row, original in zip(copy, kept, strict=True):
            words = len(original) - 1  # but the last, which ends the text
            assert row[:words] == original[:words]
            others.append([row[0], *row[words:]])
        assert sorted(others) == sorted(kept)
        assert others != kept
    assert joined[0] != joined[1]
    np.testing.assert_array_equal(examples.lengths, [len(row) for row in ids(examples.rows)])


def test_arrangements_of_single_texts_are_not_for_pairs(tokenizer):
    config = {"copies": 1, "replaced": 0, "singles": ["join"], "pairs": ["swap"]}
    task, examples, _ = made(tokenizer, config, pairs=True)
    texts = task.task.train
    assert ids(examples.rows)[40:] == tokenizer(list(texts["text_pair"]), list(texts["text"]))["input_ids"]


def test_the_same_seed_makes_the_same_copies(tokenizer):
    config = {"copies": 2, "pairs": ["keep", "mix"]}
    one, two, other = (ids(made(tokenizer, config, pairs=True, seed=seed)[1].rows) for seed in (3, 3, 4))
    assert one == two
    assert one != other


def test_copies_are_cut_as_examples_are(tokenizer):
    _, examples, _ = made(tokenizer, {"copies": 2, "pairs": ["mix"]}, pairs=True, max_length=9)
    assert examples.lengths.max() == 9
    assert max(map(len, ids(examples.rows))) == 9


def test_copies_that_would_be_the_examples_are_refused():
    with pytest.raises(ValidationError, match="the copies would be the examples themselves"):
        AugmentationConfig(replaced=0, pairs=["keep"])
    with pytest.raises(ValidationError, match="the copies would be the examples themselves"):
        AugmentationConfig(replaced=0, copies=1, pairs=["keep", "swap"])
    AugmentationConfig(replaced=0, pairs=["keep"], singles=["join"])
