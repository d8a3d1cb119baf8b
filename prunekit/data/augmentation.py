"""Further examples made from the training examples: a teacher answers them, so they need no labels.

The idea is TinyBERT's data augmentation (Jiao et al., Findings of EMNLP 2020, Algorithm 1), which takes
substitutes for words from GloVe and from a masked language model. Here they are a token's neighbours in the
teacher's own word embedding, so that nothing has to be fetched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from ..settings import Settings
from .encoding import EncodedTask, encode_columns, torch_dataset

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase

Integers = NDArray[np.int64]
NO_LABEL = -100  # in place of a label
_ROWS = 512  # of the similarity matrix at a time
# In BERT's vocabularies, never trained: any rare word is near to them.
_UNUSED = re.compile(r"\[unused\d+\]")
# How tokenizers mark a token that begins a word, or one that does not.
_MARKS = ("##", "Ġ", "▁")


class AugmentationConfig(Settings):
    """How further examples are made from the training examples."""

    copies: int = Field(3, ge=1, le=100, description="further examples made from each training example")
    replaced: float = Field(
        0.6,
        ge=0,
        le=1,
        description="share of its tokens that a copy has replaced: drawn for each copy, from 0 to this",
    )
    neighbours: int = Field(
        12,
        ge=1,
        le=1_000,
        description="a token is replaced by one of this many: the nearest in the teacher's word embedding",
    )
    singles: list[Literal["keep", "join"]] = Field(
        ["keep"],
        min_length=1,
        description="for tasks on single texts, from copy to copy in turn: keep the text, or join another "
        "example's to it, for a model that will meet longer texts",
    )
    pairs: list[Literal["keep", "swap", "mix"]] = Field(
        ["keep", "swap"],
        min_length=1,
        description="for tasks on pairs, from copy to copy in turn: keep both texts where they are, swap "
        "them, or mix (take the second text of another example)",
    )

    @model_validator(mode="after")
    def _changes_something(self) -> AugmentationConfig:
        if not (self.changes(pairs=True) or self.changes(pairs=False)):
            raise ValueError("replaced is 0 and texts are kept: the copies would be the examples themselves")
        return self

    def arrangements(self, pairs: bool) -> list[str]:
        """What becomes of the texts of pairs, or of single texts; of each copy one, in turn."""
        each = self.pairs if pairs else self.singles
        return [each[copy % len(each)] for copy in range(self.copies)]

    def changes(self, pairs: bool) -> bool:
        """Whether a copy differs from its example, which is a pair or a single text."""
        return bool(self.replaced) or set(self.arrangements(pairs)) != {"keep"}


@dataclass(frozen=True)
class Examples:
    """What a model is trained on.

    Attributes:
        rows: as a split of :class:`EncodedTask`; the training examples, then their copies in as many rows
            each, with the label :data:`NO_LABEL`.
        lengths: tokens of each row, int64 ``[N * (1 + copies)]``.
        copies: of each training example.
    """

    rows: datasets.Dataset
    lengths: Integers
    copies: int = 0


def augmented(
    task: EncodedTask,
    tokenizer: PreTrainedTokenizerBase,
    embedding: Tensor,
    config: AugmentationConfig,
    *,
    max_length: int,
    seed: int,
) -> Examples:
    """The training examples and copies of them.

    Args:
        task: encoded.
        tokenizer: that encoded it.
        embedding: of the words, ``[V, H]``; its cosines say which tokens are near to each other.
        config: see :class:`AugmentationConfig`.
        max_length: longer copies are cut to so many tokens.
        seed: of all that is drawn.
    """
    import datasets

    draw = np.random.default_rng(seed)
    texts, count = task.task.train, len(task.train)
    near = None
    if config.replaced:
        used = sorted({token for ids in task.train["input_ids"] for token in ids.tolist()})
        near = near_tokens(embedding, tokenizer, config.neighbours, torch.tensor(used))
    rows, lengths = [task.train], [task.lengths("train")]
    for copy, arrangement in enumerate(config.arrangements(task.task.is_pair)):
        columns, _ = encode_columns(_arranged(texts, arrangement, draw), "train", tokenizer, max_length)
        if near is not None:
            columns["input_ids"] = _replaced(columns["input_ids"], near, config.replaced, draw)
        columns["labels"] = [NO_LABEL] * count
        columns["index"] = list(range((copy + 1) * count, (copy + 2) * count))
        rows.append(torch_dataset(columns))
        lengths.append(np.array([len(ids) for ids in columns["input_ids"]], dtype=np.int64))
    joined = datasets.concatenate_datasets(rows).with_format("torch")
    return Examples(joined, np.concatenate(lengths), config.copies)


def near_tokens(
    embedding: Tensor, tokenizer: PreTrainedTokenizerBase, count: int, tokens: Tensor | None = None
) -> Integers:
    """The tokens nearest to each token by the cosine of their embeddings, int64 ``[V, count]``.

    A token that begins a word has neighbours that do, one that goes on with a word has others. Where there
    are too few, the token itself fills the row; so it does for special tokens, which are nobody's neighbours.

    Args:
        embedding: ``[V, H]``.
        tokenizer: of these tokens.
        count: neighbours of each.
        tokens: those that neighbours are looked for, int64; the others have themselves. All when omitted.
    """
    size = len(embedding)
    names = tokenizer.convert_ids_to_tokens(list(range(size)))
    marked = torch.tensor([str(name).startswith(_MARKS) for name in names])
    special = torch.zeros(size, dtype=torch.bool)
    special[[number for number in tokenizer.all_special_ids if number < size]] = True
    hidden = special | torch.tensor([name is None or bool(_UNUSED.fullmatch(name)) for name in names])
    directions = functional.normalize(embedding.detach().float().cpu(), dim=1)
    near = torch.arange(size)[:, None].repeat(1, count)
    asked = torch.arange(size) if tokens is None else tokens
    for block in asked[~special[asked]].split(_ROWS):
        similarity = directions[block] @ directions.T
        similarity[:, hidden] = -torch.inf
        similarity[marked[block][:, None] != marked] = -torch.inf
        similarity[torch.arange(len(block)), block] = -torch.inf
        values, found = similarity.topk(min(count, size), dim=1)
        near[block, : found.shape[1]] = torch.where(values > -torch.inf, found, block[:, None])
    table: Integers = near.numpy()
    return table


def _arranged(texts: datasets.Dataset, arrangement: str, draw: np.random.Generator) -> datasets.Dataset:
    """Texts with another's behind them; pairs the other way round, or with the second text of another."""
    import datasets

    def of_others(column: list[str]) -> list[str]:
        return [column[row] for row in draw.permutation(len(column))]

    if arrangement == "keep":
        return texts
    columns = {name: list(texts[name]) for name in texts.column_names}
    first = columns["text"]
    if arrangement == "join":
        columns["text"] = [f"{one} {other}" for one, other in zip(first, of_others(first), strict=True)]
    elif arrangement == "swap":
        columns["text"], columns["text_pair"] = columns["text_pair"], first
    else:
        columns["text_pair"] = of_others(columns["text_pair"])
    return datasets.Dataset.from_dict(columns)


def _replaced(
    rows: list[list[int]], near: Integers, most: float, draw: np.random.Generator
) -> list[list[int]]:
    """Tokens with some of them replaced by neighbours; special ones have themselves for neighbours."""
    lengths = [len(row) for row in rows]
    tokens = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
    shares = np.repeat(draw.uniform(0, most, len(rows)), lengths)
    chosen = draw.random(len(tokens)) < shares
    which = draw.integers(near.shape[1], size=len(tokens))
    tokens = np.where(chosen, near[tokens, which], tokens)
    parts: list[Any] = np.split(tokens, np.cumsum(lengths)[:-1])
    return [part.tolist() for part in parts]
