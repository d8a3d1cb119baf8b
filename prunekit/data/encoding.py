"""Texts to token ids: the tokenizer of the embedded task, encoded splits, batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import DataError
from ..pretrained import special_ids
from .tasks import TaskData

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

logger = logging.getLogger(__name__)

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

Batch = dict[str, torch.Tensor]


def word_tokenizer(texts: Iterable[str], max_length: int = 128) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is every lower-cased word and punctuation mark of ``texts``.

    Special tokens and templates are BERT's: ``[CLS] A [SEP]`` and ``[CLS] A [SEP] B [SEP]``, with token
    types 0 and 1. Ids 0 to 4 are ``[PAD] [UNK] [CLS] [SEP] [MASK]``, the words follow in alphabetical
    order, so that equal texts give equal tokenizers. A saved folder loads through ``AutoTokenizer``.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    words: set[str] = set()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    vocabulary = {word: number for number, word in enumerate([*SPECIAL_TOKENS, *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


@dataclass
class EncodedTask:
    """A task in token ids.

    Attributes:
        train, validation, test: in torch format, columns ``input_ids``, ``attention_mask``, where the
            tokenizer makes them ``token_type_ids``, ``labels`` (int) and ``index`` (the example's position in
            its split of ``task``). Unpadded.
        task: the texts.
        calibration: the same of a task that has such examples.
        truncated: split -> number of examples that were cut to ``max_length`` tokens.
    """

    train: datasets.Dataset
    validation: datasets.Dataset
    test: datasets.Dataset
    task: TaskData
    calibration: datasets.Dataset | None = None
    truncated: dict[str, int] = field(default_factory=dict)
    _lengths: dict[str, NDArray[np.int64]] = field(default_factory=dict, repr=False)

    def lengths(self, split: str) -> NDArray[np.int64]:
        """Tokens of every example of a split, special tokens included, padding not: int64 [N]."""
        return self._lengths[split]

    @property
    def splits(self) -> dict[str, datasets.Dataset]:
        """The splits by name."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return splits if self.calibration is None else {**splits, "calibration": self.calibration}


def encode(task: TaskData, tokenizer: PreTrainedTokenizerBase, max_length: int) -> EncodedTask:
    """Tokenise all splits; longer examples are cut to ``max_length`` tokens, counted and logged.

    Raises:
        DataError: a text tokenises to nothing (split and example are named).
    """
    encoded, truncated, lengths = {}, {}, {}
    for split, data in task.splits.items():
        encoded[split], lengths[split], truncated[split] = encode_examples(data, split, tokenizer, max_length)
    return EncodedTask(**encoded, task=task, truncated=truncated, _lengths=lengths)


def encode_examples(
    data: datasets.Dataset, name: str, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[datasets.Dataset, NDArray[np.int64], int]:
    """Tokenise one split.

    Args:
        data: as in :class:`~prunekit.data.TaskData`.
        name: what its examples are called, for messages.

    Returns:
        The examples as in :class:`EncodedTask`, their lengths int64 [N], and how many of them were cut.

    Raises:
        DataError: a text tokenises to nothing (split and example are named).
    """
    columns, truncated = encode_columns(data, name, tokenizer, max_length)
    lengths = np.array([len(ids) for ids in columns["input_ids"]], dtype=np.int64)
    if truncated:
        logger.warning(
            "%d of %d %s examples are longer than %d tokens and were cut",
            truncated,
            len(data),
            name,
            max_length,
        )
    return torch_dataset(columns), lengths, truncated


def check_text(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], where: str = "text") -> None:
    """Refuse texts that tokenise to nothing, or to nothing but special tokens.

    Args:
        tokenizer: what will read the texts.
        texts: the texts.
        where: what they are called in the message, which adds the number, from 1.

    Raises:
        DataError: naming the first such text.
    """
    if not len(texts):
        return
    empty = special_ids(tokenizer)
    encoded = tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)
    for number, (text, ids) in enumerate(zip(texts, encoded["input_ids"], strict=True), start=1):
        if empty.issuperset(ids):
            raise DataError(
                f"{where} {number}, {text!r}, tokenises to nothing",
                "give it at least one word or remove it",
            )


def collator(tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[dict[str, Any]]], Batch]:
    """A function that makes a batch of encoded examples, padded to its longest.

    The batch holds int64 tensors: ``input_ids``, ``attention_mask`` and, where present,
    ``token_type_ids`` [B, T], ``labels`` and ``index`` [B].
    """
    padding = {
        "input_ids": tokenizer.pad_token_id,
        "attention_mask": 0,
        "token_type_ids": getattr(tokenizer, "pad_token_type_id", 0),
    }
    if padding["input_ids"] is None:
        raise DataError("the tokenizer has no padding token", "set tokenizer.pad_token")
    left = getattr(tokenizer, "padding_side", "right") == "left"

    def collate(examples: Sequence[dict[str, Any]]) -> Batch:
        width = max(len(example["input_ids"]) for example in examples)
        batch = {}
        for name in examples[0]:
            if name not in padding:
                batch[name] = torch.tensor([int(example[name]) for example in examples])
                continue
            rows = torch.full((len(examples), width), padding[name], dtype=torch.int64)
            for row, example in zip(rows, examples, strict=True):
                values = torch.as_tensor(example[name])
                start = width - len(values) if left else 0
                row[start : start + len(values)] = values
            batch[name] = rows
        return batch

    return collate


def encode_columns(
    data: datasets.Dataset, split: str, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[dict[str, Any], int]:
    """The columns of an encoded split as lists, and how many of its examples were cut."""
    texts = [list(data[name]) for name in ("text", "text_pair") if name in data.column_names]
    for name, values in zip(("text", "text_pair"), texts, strict=False):
        check_text(tokenizer, values, f"{name} of {split} example")
    columns = dict(tokenizer(*texts, truncation=False, verbose=False))
    long = [row for row, ids in enumerate(columns["input_ids"]) if len(ids) > max_length]
    if long:
        cut = tokenizer(
            *([values[row] for row in long] for values in texts), truncation=True, max_length=max_length
        )
        for name, values in columns.items():
            for row, value in zip(long, cut[name], strict=True):
                values[row] = value
    columns["labels"] = list(data["label"])
    columns["index"] = list(range(len(data)))
    return columns, len(long)


def torch_dataset(columns: dict[str, Any]) -> datasets.Dataset:
    """Columns of lists as a split in torch format."""
    import datasets

    return datasets.Dataset.from_dict(columns).with_format("torch")
