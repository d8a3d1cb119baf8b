"""A classifier of texts: what turns texts into ids, and the engine that answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .batching import Example
from .engine import Engine
from .manifest import NAME, Manifest
from .opening import load

Text = tuple[str, ...]


@dataclass(frozen=True)
class TextClassifier:
    """An engine and the tokenizer that belongs to it.

    Attributes:
        engine: answers.
        labels: names of the classes.
        encode: texts, or pairs of them, as examples; cut to this many tokens, or whole.
        words: ids of each text alone, without special tokens.
        longest: tokens that an example may have; ``None``: any number.
        id_limits: how many ids the model has embeddings for, by input.
        unknown: id of what the tokenizer does not know.
        special: ids that are no words.
    """

    engine: Engine
    labels: Sequence[str]
    encode: Callable[[Sequence[Text], int | None], list[Example]]
    words: Callable[[Sequence[str]], list[list[int]]]
    longest: int | None
    id_limits: Mapping[str, int]
    unknown: int | None
    special: frozenset[int]


def open_export(folder: Path, policy: dict[str, Any] | None = None, **settings: Any) -> TextClassifier:
    """A classifier from a folder that ``prunekit export`` wrote. PyTorch is not imported.

    Args:
        folder: with a tokenizer's file ``tokenizer.json``.
        policy: name and arguments of an exit policy, in place of the model's.
        settings: of :class:`Engine`.

    Raises:
        CheckpointError: the folder cannot be read, or has no tokenizer.
    """
    from tokenizers import Tokenizer

    manifest = Manifest.read(folder)
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise CheckpointError(
            f"{folder} has no tokenizer.json", f"export the model again, with its tokenizer beside {NAME}"
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises Exception itself
        raise CheckpointError(f"{file} cannot be read: {error}", "export the model again") from error
    tokenizer.no_padding()

    def encode(texts: Sequence[Text], longest: int | None) -> list[Example]:
        tokenizer.no_truncation()
        if longest is not None:
            tokenizer.enable_truncation(longest)
        found = tokenizer.encode_batch([text[0] if len(text) == 1 else text for text in texts])
        return [{"input_ids": one.ids, "token_type_ids": one.type_ids} for one in found]

    def words(texts: Sequence[str]) -> list[list[int]]:
        tokenizer.no_truncation()
        return [one.ids for one in tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    return TextClassifier(
        load(folder, policy=policy, **settings),
        manifest.labels,
        encode,
        words,
        manifest.longest,
        manifest.id_limits,
        manifest.unknown,
        frozenset(manifest.special),
    )
