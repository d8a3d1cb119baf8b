"""``prunekit predict``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import console
from ..errors import DataError, RecipeError
from .sources import model_folder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from ..exits import MultiExitForSequenceClassification

logger = logging.getLogger(__name__)

_BATCH = 32

Text = tuple[str, ...]


@dataclass(frozen=True)
class Prediction:
    """One text's answer. ``exit_layer`` is 1-based, ``confidence`` the label's probability."""

    text: Text
    label: str
    confidence: float
    exit_layer: int


def predict_texts(
    source: str, texts: Sequence[str], *, pair: bool, file: Path | None, threshold: float | None
) -> None:
    """Print label, confidence and exit layer of texts from the arguments, a file or standard input."""
    if texts and file is not None:
        raise RecipeError("texts are given and --file as well", "keep one of the two")
    from ..calibration import guarantee_of

    given: Iterable[tuple[str, Text]] = _from_arguments(texts, pair) if texts else _from_lines(file, pair)
    console.quiet_libraries()
    model, tokenizer = load_classifier(model_folder(source), threshold)
    # transformers wraps `to` such that type checkers lose its arguments.
    model.to(device())  # type: ignore[arg-type]
    guarantee = guarantee_of(model.config)
    if guarantee is not None:
        logger.debug(guarantee["words"])
    if texts or file is not None:
        # One that cannot be answered is refused before the first answer; standard input may have no end.
        given = list(given)
        check_texts(tokenizer, given)
    # Into a pipe or a file go plain tab-separated lines, which other programs can read as they come.
    if not console.out().is_terminal:
        print("label", "confidence", "exit_layer", "text", sep="\t")
        for answer in predictions(model, tokenizer, given):
            fields = (answer.label, f"{answer.confidence:.4f}", answer.exit_layer, *answer.text)
            print(*fields, sep="\t", flush=True)
        return
    depth = model.config.exit_layers[-1]
    table = console.table("", "text", "label", "confidence", "exit layer")
    for answer in predictions(model, tokenizer, given):
        table.add_row(
            " / ".join(answer.text),
            answer.label,
            f"{answer.confidence:.1%}",
            f"{answer.exit_layer} of {depth}",
        )
    console.out().print(table)


def load_classifier(
    folder: Path, threshold: float | None = None
) -> tuple[MultiExitForSequenceClassification, PreTrainedTokenizerBase]:
    """A multi-exit model and its tokenizer; ``threshold`` replaces that of the model's exit policy.

    Raises:
        CheckpointError: the folder is no such model.
    """
    from ..checkpoints import load
    from ..errors import CheckpointError
    from ..exits import MultiExitForSequenceClassification
    from ..pretrained import read_tokenizer, with_padding

    model = load(folder)
    if not isinstance(model, MultiExitForSequenceClassification):
        raise CheckpointError(
            f"{folder} holds a {type(model).__name__}, which has no exits",
            "use transformers' pipeline for it",
        )
    tokenizer = with_padding(read_tokenizer(folder), folder)
    _try_out(model, folder)
    if threshold is not None:
        policy = dict(model.config.exit_policy or {"name": "entropy"})
        model.set_exit_policy({**policy, "threshold": threshold})
    return model, tokenizer


def _try_out(model: MultiExitForSequenceClassification, folder: Path) -> None:
    """Have the model answer once: what its ``config.json`` says wrongly shows here, not at the first text.

    Raises:
        CheckpointError: it cannot be run, or its answer is no number.
    """
    import torch

    from ..errors import CheckpointError, first_line

    try:
        with torch.inference_mode():
            said = model(torch.zeros(1, 2, dtype=torch.int64), all_exits=True).exit_logits
            model(torch.zeros(1, 2, dtype=torch.int64))
    except Exception as error:  # whatever the model's modules raise
        raise CheckpointError(
            f"the model in {folder} cannot be run: {type(error).__name__}: {first_line(error)}",
            "its config.json does not describe it: copy the folder again",
        ) from error
    if not bool(torch.isfinite(said).all()):
        raise CheckpointError(
            f"the model in {folder} answers with NaN or infinity", "take another checkpoint of it"
        )


def most_tokens(model: MultiExitForSequenceClassification, tokenizer: PreTrainedTokenizerBase) -> int:
    """The longest input that model and tokenizer both take, special tokens included."""
    from ..architectures import longest_input

    limit: int = tokenizer.model_max_length
    return min(limit, longest_input(model) or limit)


def device() -> torch.device:
    """Where models run."""
    from accelerate import PartialState

    return PartialState().device


def check_texts(tokenizer: PreTrainedTokenizerBase, texts: Iterable[tuple[str, Text]]) -> None:
    """Raise ``DataError`` naming the place of the first text that tokenises to nothing."""
    from ..data import check_text

    for place, text in texts:
        for part in text:
            check_text(tokenizer, [part], f"{place}: text")


def predictions(
    model: MultiExitForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[tuple[str, Text]],
) -> Iterator[Prediction]:
    """Answers in the order of the texts, computed in batches on the model's device.

    Warns of texts that were cut to what the model takes, and of words its tokenizer does not know.

    Args:
        texts: pairs of where a text comes from, for messages, and the text or the pair of texts.

    Raises:
        DataError: a text tokenises to nothing.
    """
    import torch

    limit = most_tokens(model, tokenizer)
    names: Any = model.config.id2label
    waiting = iter(texts)
    strange: list[str] = []
    cut: list[str] = []
    while batch := list(islice(waiting, _BATCH)):
        check_texts(tokenizer, batch)
        columns: tuple[Any, ...] = tuple(zip(*(text for _, text in batch), strict=True))
        written = [list(column) for column in columns]
        inputs = tokenizer(*written, padding=True, return_tensors="pt")
        if inputs["input_ids"].shape[1] > limit:
            tokens = inputs["attention_mask"].sum(dim=1).tolist()
            cut += [place for (place, _), count in zip(batch, tokens, strict=True) if count > limit]
            inputs = tokenizer(*written, padding=True, truncation=True, max_length=limit, return_tensors="pt")
        if tokenizer.unk_token_id is not None:
            unknown = (inputs["input_ids"] == tokenizer.unk_token_id).any(dim=1).tolist()
            strange += [place for (place, _), some in zip(batch, unknown, strict=True) if some]
        with torch.inference_mode():
            output = model(**inputs.to(model.device))
        probabilities = output.logits.float().softmax(dim=-1)
        for (_, text), row, layer in zip(batch, probabilities, output.exit_layer.tolist(), strict=True):
            best = int(row.argmax())
            yield Prediction(text, names[best], float(row[best]), layer)
    if cut:
        logger.warning(
            "%d texts are longer than the %d tokens the model takes and were cut (the first: %s)",
            len(cut), limit, cut[0],
        )  # fmt: skip
    if strange:
        logger.warning(
            "%d texts have words that the model's tokenizer does not know (the first: %s): "
            "what is said of them means little",
            len(strange), strange[0],
        )  # fmt: skip


def _from_arguments(texts: Sequence[str], pair: bool) -> Iterator[tuple[str, Text]]:
    if not pair:
        return ((f"argument {number}", (text,)) for number, text in enumerate(texts, 1))
    if len(texts) % 2:
        raise DataError(f"--pair takes texts two by two, and {len(texts)} are given")
    return (
        (f"arguments {number} and {number + 1}", (texts[number - 1], texts[number]))
        for number in range(1, len(texts), 2)
    )


def _from_lines(file: Path | None, pair: bool) -> Iterator[tuple[str, Text]]:
    name = "standard input" if file is None else str(file)
    if file is None and sys.stdin.isatty():
        console.err().print("reading texts from the terminal, a line each; end with Ctrl-D")
    try:
        with sys.stdin if file is None else file.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                place = f"{name}, line {number}"
                parts = tuple(line.rstrip("\r\n").split("\t")) if pair else (line.rstrip("\r\n"),)
                if pair and len(parts) != 2:
                    raise DataError(
                        f"{place}: expected two texts with a tab between them, found {len(parts)}"
                    )
                yield place, parts
    except OSError as error:
        raise DataError(f"cannot read {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text (byte {error.start})") from error
