"""Token ids against templates written out by hand, batches against the tokenizer's own padding."""

from __future__ import annotations

import logging
import string
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from prunekit.data import DataConfig, TaskData, check_text, collator, encode, load_task, word_tokenizer
from prunekit.errors import DataError

TEXTS = ["The soup was not bland.", "I'd go again, gladly!"]


def task_of(texts: list[str], pairs: list[str] | None = None) -> TaskData:
    columns: dict[str, list[Any]] = {"text": texts, "label": [n % 2 for n in range(len(texts))]}
    if pairs is not None:
        columns["text_pair"] = pairs
    data = datasets.Dataset.from_dict(columns)
    return TaskData("t", data, data.select(range(1)), data.select(range(2)), ["no", "yes"], ["accuracy"])


def test_vocabulary_is_every_word_in_order() -> None:
    tokenizer = word_tokenizer(TEXTS)
    words = sorted(
        {*["the", "soup", "was", "not", "bland", ".", "i", "'", "d", "go", "again", ",", "gladly", "!"]}
    )
    assert tokenizer.get_vocab() == {
        word: n for n, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])
    }
    assert word_tokenizer(TEXTS[::-1]).get_vocab() == tokenizer.get_vocab()


def test_templates_are_berts() -> None:
    tokenizer = word_tokenizer(TEXTS)
    one = tokenizer("SOUP bland")
    assert tokenizer.convert_ids_to_tokens(one["input_ids"]) == ["[CLS]", "soup", "bland", "[SEP]"]
    two = tokenizer("soup unheard", "not the")
    assert tokenizer.convert_ids_to_tokens(two["input_ids"]) == (
        ["[CLS]", "soup", "[UNK]", "[SEP]", "not", "the", "[SEP]"]
    )
    assert two["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1]
    assert two["attention_mask"] == [1] * 7


def test_saved_tokenizer_loads_through_auto_tokenizer(tmp_path: Path) -> None:
    tokenizer = word_tokenizer(TEXTS)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    arguments: dict[str, Any] = {"padding": True, "truncation": True, "max_length": 7}
    assert dict(loaded(TEXTS, TEXTS[::-1], **arguments)) == dict(tokenizer(TEXTS, TEXTS[::-1], **arguments))
    assert loaded.model_input_names == tokenizer.model_input_names
    assert (loaded.pad_token_id, loaded.unk_token_id, loaded.model_max_length) == (0, 1, 128)


def test_the_embedded_task_has_no_unknown_word() -> None:
    task = load_task(DataConfig(), 0)
    tokenizer = word_tokenizer(task.train["text"])
    encoded = encode(task, tokenizer, 64)
    assert len(tokenizer) < 800
    assert not any(encoded.truncated.values())
    for split in encoded.splits.values():
        assert not any((ids == tokenizer.unk_token_id).any() for ids in split["input_ids"])


@pytest.mark.parametrize("pair", [False, True])
def test_encoded_splits(pair: bool, caplog: pytest.LogCaptureFixture) -> None:
    texts = ["soup", "the soup was the soup was the soup", "not bland", "was"]
    task = task_of(texts, texts[::-1] if pair else None)
    tokenizer = word_tokenizer(TEXTS)
    with caplog.at_level(logging.WARNING):
        encoded = encode(task, tokenizer, 8)
    lengths = [len(text.split()) + 2 for text in texts]
    if pair:
        lengths = [a + len(b.split()) + 1 for a, b in zip(lengths, texts[::-1], strict=True)]
    cut = sum(length > 8 for length in lengths)
    assert cut
    assert encoded.truncated["train"] == cut
    assert f"{cut} of 4 train examples are longer than 8 tokens" in caplog.text
    assert encoded.lengths("train").tolist() == [min(8, length) for length in lengths]
    assert encoded.lengths("train").dtype.name == "int64"
    assert set(encoded.train.column_names) == {
        "input_ids",
        "attention_mask",
        "token_type_ids",
        "labels",
        "index",
    }
    for row in range(4):
        expected = tokenizer(texts[row], texts[3 - row] if pair else None, truncation=True, max_length=8)
        example = encoded.train[row]
        assert example["input_ids"].tolist() == expected["input_ids"]
        assert example["token_type_ids"].tolist() == expected["token_type_ids"]
        assert example["index"] == row
        assert example["labels"] == row % 2
        assert example["labels"].dtype == torch.int64


@pytest.mark.parametrize("text", ["", "   ", "\u200b\u00ad", "[SEP] [PAD]", "\x00"])
def test_a_text_that_tokenises_to_nothing(text: str) -> None:
    tokenizer = word_tokenizer(TEXTS)
    with pytest.raises(DataError, match=r"text 2, .* tokenises to nothing") as caught:
        check_text(tokenizer, ["soup", text])
    assert caught.value.mend
    with pytest.raises(DataError, match=r"text of train example 3, .* tokenises to nothing"):
        encode(task_of(["soup", "bland", text]), tokenizer, 8)
    with pytest.raises(DataError, match=r"text_pair of train example 1, .* tokenises to nothing"):
        encode(task_of(["soup", "bland"], [text, "soup"]), tokenizer, 8)


def test_unknown_words_are_something() -> None:
    check_text(word_tokenizer(TEXTS), ["qwertz", "!?"])
    check_text(word_tokenizer(TEXTS), [])


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.lists(st.sampled_from(["the", "soup", "was", "not", "bland"]), min_size=1, max_size=9),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["left", "right"]),
)
def test_batches_are_padded_as_the_tokenizer_pads(rows: list[list[str]], side: str) -> None:
    tokenizer = word_tokenizer(TEXTS)
    tokenizer.padding_side = side
    texts = [" ".join(row) for row in rows]
    examples = [{**tokenizer(text), "labels": n % 2, "index": 10 + n} for n, text in enumerate(texts)]
    batch = collator(tokenizer)(examples)
    expected = tokenizer(texts, padding=True, return_tensors="pt")
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        assert torch.equal(batch[name], expected[name])
        assert batch[name].dtype == torch.int64
    assert batch["labels"].tolist() == [n % 2 for n in range(len(texts))]
    assert batch["index"].tolist() == [10 + n for n in range(len(texts))]


def test_batches_through_a_data_loader() -> None:
    task = task_of([" ".join(string.ascii_lowercase[: n + 1]) for n in range(10)])
    tokenizer = word_tokenizer(task.train["text"])
    encoded = encode(task, tokenizer, 128)
    batches = list(torch.utils.data.DataLoader(encoded.train, batch_size=4, collate_fn=collator(tokenizer)))
    assert [len(batch["index"]) for batch in batches] == [4, 4, 2]
    assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(10))
    assert batches[0]["attention_mask"].sum(1).tolist() == encoded.lengths("train")[:4].tolist()


def test_a_tokenizer_without_padding() -> None:
    tokenizer = word_tokenizer(TEXTS)
    tokenizer.pad_token = None
    with pytest.raises(DataError, match="padding"):
        collator(tokenizer)
