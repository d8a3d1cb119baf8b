"""``prunekit predict``."""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import console
from ..errors import CheckpointError, DataError, RecipeError
from ..text import shown
from .sources import model_folder, run_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from ..exits import MultiExitForSequenceClassification
    from ..runtime.batching import Example
    from ..runtime.classifier import TextClassifier

logger = logging.getLogger(__name__)

_BATCH = 32

Text = tuple[str, ...]
# Where a text comes from, for messages, and the text or the pair of texts.
Placed = tuple[str, Text]


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
    given: Iterable[Placed]
    if texts:
        given = _from_arguments(texts, pair)
    elif file is not None:
        given = _from_file(str(file), pair, source)
    else:
        given = _from_standard_input(pair)
    console.quiet_libraries()
    classifier = _classifier(source, threshold, live=not texts and file is None)
    if isinstance(given, list):
        # One that cannot be answered is refused before the first answer; standard input may have no end.
        check_texts(classifier, given)
    # Into a pipe or a file go plain tab-separated lines, which other programs can read as they come.
    if not console.out().is_terminal:
        print("label", "confidence", "exit_layer", "text", sep="\t")
        for answer in predictions(classifier, given):
            label, *words = (shown(part, keep="") for part in (answer.label, *answer.text))
            print(label, f"{answer.confidence:.4f}", answer.exit_layer, *words, sep="\t", flush=True)
        return
    from rich.text import Text as Words

    depth = classifier.engine.exit_layers[-1]
    table = console.table("", "text", "label", "confidence", "exit layer")
    for answer in predictions(classifier, given):
        table.add_row(
            Words(shown(" / ".join(answer.text), keep="")),
            Words(shown(answer.label, keep="")),
            f"{answer.confidence:.1%}",
            f"{answer.exit_layer} of {depth}",
        )
    console.out().print(table)


def _classifier(source: str, threshold: float | None, live: bool) -> TextClassifier:
    """What answers: an export, or PyTorch with the model of a folder or run.

    Args:
        source: of the command line.
        threshold: of the exit policy.
        live: texts come one by one, and somebody waits for the answers.
    """
    from ..runtime.classifier import open_export
    from ..runtime.manifest import NAME, Manifest

    window = 1 if live else 32
    folder = Path(source)
    if (folder / NAME).is_file():
        policy = None
        if threshold is not None:
            policy = {**(Manifest.read(folder).policy or {"name": "entropy"}), "threshold": threshold}
        return open_export(folder, policy, window=window)
    from ..calibration import guarantee_of

    model, tokenizer = load_classifier(model_folder(source), threshold)
    # transformers wraps `to` such that type checkers lose its arguments.
    model.to(device())  # type: ignore[arg-type]
    guarantee = guarantee_of(model.config)
    if guarantee is not None:
        logger.debug(guarantee["words"])
    return classifier_of(model, tokenizer, window)


def classifier_of(
    model: MultiExitForSequenceClassification, tokenizer: PreTrainedTokenizerBase, window: int = 32
) -> TextClassifier:
    """A model with its tokenizer, which PyTorch runs on the model's device."""
    from ..architectures import id_limits
    from ..pretrained import special_ids
    from ..runtime import load
    from ..runtime.classifier import TextClassifier
    from ..runtime.graphs import label_names

    def encode(texts: Sequence[Text], longest: int | None) -> list[Example]:
        columns: tuple[Any, ...] = tuple(zip(*texts, strict=True))
        written = [list(column) for column in columns]
        found = tokenizer(*written, truncation=longest is not None, max_length=longest, verbose=False)
        names = [name for name in ("input_ids", "token_type_ids") if name in found]
        return [
            dict(zip(names, row, strict=True)) for row in zip(*(found[name] for name in names), strict=True)
        ]

    def words(texts: Sequence[str]) -> list[list[int]]:
        found = tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)
        ids: list[list[int]] = found["input_ids"]
        return ids

    return TextClassifier(
        load(model, window=window),
        label_names(model),
        encode,
        words,
        most_tokens(model, tokenizer),
        id_limits(model),
        tokenizer.unk_token_id,
        frozenset(special_ids(tokenizer)),
    )


def load_classifier(
    folder: Path, threshold: float | None = None
) -> tuple[MultiExitForSequenceClassification, PreTrainedTokenizerBase]:
    """A multi-exit model and its tokenizer; ``threshold`` replaces that of the model's exit policy.

    Raises:
        CheckpointError: the folder is no such model.
    """
    from ..checkpoints import load
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

    from ..errors import first_line

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


def check_texts(classifier: TextClassifier, texts: Sequence[Placed]) -> None:
    """Raise ``DataError`` naming the place of the first text that tokenises to nothing."""
    every = [(place, part) for place, text in texts for part in text]
    for (place, part), ids in zip(every, classifier.words([part for _, part in every]), strict=True):
        if classifier.special.issuperset(ids):
            raise DataError(
                f"{place}: text 1, {part!r}, tokenises to nothing", "give it at least one word or remove it"
            )


def predictions(classifier: TextClassifier, texts: Iterable[Placed]) -> Iterator[Prediction]:
    """Answers in the order of the texts.

    Warns of texts that were cut to what the model takes, and of words its tokenizer does not know.

    Args:
        classifier: answers.
        texts: pairs of where a text comes from, for messages, and the text or the pair of texts.

    Raises:
        DataError: a text tokenises to nothing, or to ids that the model does not have.
        CheckpointError: the model's answer is no number.
    """
    import numpy as np

    limit = classifier.longest
    waiting = iter(texts)
    asked: deque[Placed] = deque()
    strange: list[str] = []
    cut: list[str] = []

    def examples() -> Iterator[Example]:
        while batch := list(islice(waiting, _BATCH)):
            check_texts(classifier, batch)
            encoded = classifier.encode([text for _, text in batch], None)
            longer = [
                place
                for place, example in enumerate(encoded)
                if limit is not None and len(example["input_ids"]) > limit
            ]
            if longer:
                shorter = classifier.encode([batch[place][1] for place in longer], limit)
                for place, example in zip(longer, shorter, strict=True):
                    encoded[place] = example
                cut.extend(batch[place][0] for place in longer)
            _check_ids(encoded, classifier.id_limits, batch)
            unknown = classifier.unknown
            if unknown is not None:
                strange.extend(
                    place
                    for (place, _), example in zip(batch, encoded, strict=True)
                    if unknown in example["input_ids"]
                )
            asked.extend(batch)
            yield from encoded

    for answer in classifier.engine.run(examples()):
        place, text = asked.popleft()
        if not np.isfinite(answer.logits).all():
            raise CheckpointError(
                f"{place}: the model's answer is no number",
                "its weights or its precision are at fault: take another checkpoint of it, or float32",
            )
        powers = np.exp(answer.logits.astype(np.float64) - answer.logits.max())
        best = int(answer.logits.argmax())
        yield Prediction(text, classifier.labels[best], float(powers[best] / powers.sum()), answer.exit_layer)
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


def _check_ids(examples: Sequence[Example], limits: Mapping[str, int], batch: Sequence[Placed]) -> None:
    """Raise ``DataError`` naming the first text whose ids the model has no embedding for."""
    for name, limit in limits.items():
        for (place, _), example in zip(batch, examples, strict=True):
            most = max(example.get(name) or [0])
            if most >= limit:
                raise DataError(
                    f"{place}: the tokenizer gives {name} up to {most}, and the model has {limit} "
                    f"(0 to {limit - 1}): they do not belong together",
                    "put the tokenizer that the model was trained with into its folder",
                )


def _from_arguments(texts: Sequence[str], pair: bool) -> list[Placed]:
    if not pair:
        return [(f"argument {number}", (text,)) for number, text in enumerate(texts, 1)]
    if len(texts) % 2:
        raise DataError(f"--pair takes texts two by two, and {len(texts)} are given")
    return [
        (f"arguments {number} and {number + 1}", (texts[number - 1], texts[number]))
        for number in range(1, len(texts), 2)
    ]


def _from_file(file: str, pair: bool, source: str) -> list[Placed]:
    """A table's columns of text, found as those of training data; a file of another kind is a text a line."""
    from ..data import TABLE_KINDS, check_file, content_of, lines_of, load_texts, text_of
    from ..runs import recipe_of

    if file.lower().endswith(TABLE_KINDS):
        run = run_of(source)
        return load_texts(file, "--file", None if run is None else recipe_of(run).data, pair)
    check_file(
        file, "--file", "give a file; send what comes from elsewhere to standard input, without --file"
    )
    name = shown(file, keep="")
    lines = lines_of(text_of(content_of(file, "--file"), f"--file: {name}"))
    texts = list(_from_lines((line.rstrip("\r\n") for line in lines), name, pair))
    if not texts:
        raise DataError(f"--file: {name} holds no texts", "give a file with a text a line")
    return texts


def _from_standard_input(pair: bool) -> Iterator[Placed]:
    from ..data import lines_of_stream

    name = "standard input"
    if sys.stdin.isatty():
        console.err().print("reading texts from the terminal, a line each; end with Ctrl-D")
    binary = getattr(sys.stdin, "buffer", None)
    # A program that calls this one may have put a stream of its own there, which has no bytes.
    lines = (line.rstrip("\r\n") for line in sys.stdin) if binary is None else lines_of_stream(binary, name)
    return _from_lines(lines, name, pair)


def _from_lines(lines: Iterable[str], name: str, pair: bool) -> Iterator[Placed]:
    """The texts of lines, each with its place. Blank lines are left out, with a warning if texts follow."""
    blank, skipped = 0, 0
    try:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                blank += 1
                continue
            skipped, blank = skipped + blank, 0
            place = f"{name}, line {number}"
            parts = tuple(line.split("\t")) if pair else (line,)
            if pair and len(parts) != 2:
                raise DataError(
                    f"{place}: expected two texts with a tab between them, found {len(parts)}",
                    "write the two texts of a pair on one line, with one tab between them",
                )
            yield place, parts
    except OSError as error:
        raise DataError(f"cannot read {name}: {error.strerror or error}") from error
    if skipped:
        logger.warning("%s: blank lines before the last text are left out: %d", name, skipped)
