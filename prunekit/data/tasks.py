"""A task: its examples in three or four splits, its label names and its metrics."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError
from ..text import shown
from . import reviews
from .config import CUSTOM, REVIEWS, DataConfig
from .glue import GLUE_TASKS, HUB_NAME, GlueTask
from .labels import (
    MissingColumnError,
    find_columns,
    find_label,
    in_model_order,
    label_names_of,
    read_labels,
    read_texts,
)
from .metrics import check_metrics
from .overlap import check_files, check_hub_splits, warn_of_overlap
from .sources import read_file, read_hub
from .tables import Columns, Table

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
CALIBRATION = "calibration"


@dataclass
class TaskData:
    """Examples of a text-classification task.

    Attributes:
        name: the task's name.
        train, validation, test: columns ``text`` (str), ``text_pair`` (str, for pairs only), ``label``
            (int, a position in ``label_names``) and, for the embedded task, ``difficulty`` (str).
            ``validation`` chooses checkpoints, ``test`` is what is reported.
        label_names: names of the classes in the order of their numbers.
        metrics: names of the scores; the first is the main one.
        calibration: held out for choosing an exit policy with a guarantee; ``None`` where none is asked for.
    """

    name: str
    train: datasets.Dataset
    validation: datasets.Dataset
    test: datasets.Dataset
    label_names: list[str]
    metrics: list[str]
    calibration: datasets.Dataset | None = None

    @property
    def num_labels(self) -> int:
        """Number of classes."""
        return len(self.label_names)

    @property
    def is_pair(self) -> bool:
        """Whether an example is a pair of texts."""
        return "text_pair" in self.train.column_names

    @property
    def splits(self) -> dict[str, datasets.Dataset]:
        """The splits by name."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return splits if self.calibration is None else {**splits, CALIBRATION: self.calibration}


def load_task(config: DataConfig, seed: int, model_names: Sequence[str] | None = None) -> TaskData:
    """Read or generate the task's examples.

    Without validation data, validation examples are held out of train, stratified by label; where
    ``train_size`` leaves examples over, those are taken for it, so that no training example is lost.
    Calibration examples are drawn before, evenly from all rows of the training data.

    Labels are numbered in the order of ``config.label_names``, else of GLUE's names, else of the model's if
    it has all of the data's, else in the data's own order. Which examples are in which split does not depend
    on the model's.

    Args:
        config: the recipe's ``data`` part.
        seed: drives generation, subsets and what is held out, unless ``config.seed`` is set.
        model_names: of the classes of the model that is worked on, as
            :func:`~prunekit.data.label_names_of_model` gives them.

    Raises:
        DataError: see :mod:`prunekit.data.sources` and :mod:`prunekit.data.labels`; and validation examples
            from the very file that is trained on or reported.
    """
    seed = seed if config.seed is None else config.seed
    if config.task == REVIEWS:
        return _generated(config, seed)
    glue = GLUE_TASKS.get(config.task)
    tables = _read(config, glue)
    texts, label = find_columns(config, glue, tables["train"]), find_label(config, tables["train"])
    if glue is not None and not config.from_files and config.hub_name is None:
        tables["train"] = _without_empty(tables["train"], texts)
    given = config.label_names or (list(glue.label_names) if glue is not None else None)
    names = label_names_of(tables["train"], label, given, model_names)
    numbered = list(names) if given is not None else in_model_order(names, model_names)
    # Splits are drawn by the data's own numbers; classes that only other files have come after those.
    names += [name for name in numbered if name not in names]
    metrics: list[str] = list(config.metrics or (glue.metrics if glue is not None else ("accuracy",)))
    check_metrics(metrics, len(numbered))
    examples = {
        split: _examples(table, texts, label, names, given is not None) for split, table in tables.items()
    }
    splits = _divide(examples, config, np.random.default_rng(seed))
    if numbered != names:
        splits = {split: _renumbered(data, names, numbered) for split, data in splits.items()}
    task = TaskData(config.task, **splits, label_names=numbered, metrics=metrics)
    warn_of_overlap(task, "validation" in tables)
    return task


def load_examples(
    path: str, key: str, label_names: Sequence[str], config: DataConfig | None = None
) -> datasets.Dataset:
    """Labelled examples of a file, in the columns of :class:`TaskData`'s splits, for a model that is there.

    Args:
        path: a csv, tsv, json, jsonl or parquet file.
        key: what named it, for messages.
        label_names: the model's, in the order of their numbers.
        config: of the data the model was made from: names of the columns.

    Raises:
        DataError: the file cannot be read, or has no such columns or labels.
    """
    table = read_file(path, key)
    config = config or _columns_by_name(path)
    try:
        texts = find_columns(config, GLUE_TASKS.get(config.task), table)
        return _examples(table, texts, find_label(config, table), label_names)
    except DataError as error:
        names = ", ".join(shown(name, keep="") for name in label_names[:20])
        error.mend = f"{_NEEDS_TEXTS} and a column 'label' with the model's classes: {names}"
        raise


def load_texts(
    path: str, key: str, config: DataConfig | None = None, pair: bool = False
) -> list[tuple[str, tuple[str, ...]]]:
    """The texts of a file in its order, each with its place: one, or two where the file has pairs.

    Args:
        path: a csv, tsv, json, jsonl or parquet file. A column of labels is not looked at.
        key: what named it, for messages.
        config: of the data the model was made from: names of the columns.
        pair: whether they must be pairs.

    Raises:
        DataError: the file cannot be read, or has no such columns.
    """
    table = read_file(path, key)
    config = config or _columns_by_name(path)
    try:
        text, second = find_columns(config, GLUE_TASKS.get(config.task), table)
        if pair and second is None:
            raise MissingColumnError(
                f"{table.origin}: pairs are asked for, and {text!r} alone is a column of texts"
            )
        columns = [read_texts(table, text, "text")]
        if second is not None:
            columns.append(read_texts(table, second, "text_pair"))
    except MissingColumnError as error:
        error.mend = f"{_NEEDS_TEXTS}; a file whose name ends in .txt is read a line each"
        raise
    return [(table.locate(row), texts) for row, texts in enumerate(zip(*columns, strict=True))]


_NEEDS_TEXTS = (
    "it needs a column of texts ('text', for pairs also 'text_pair', or those of the data that the model was "
    "made from)"
)


def _columns_by_name(path: str) -> DataConfig:
    return DataConfig(task=CUSTOM, train_file=path, test_file=path)


def _generated(config: DataConfig, seed: int) -> TaskData:
    sizes = {split: getattr(config, f"{split}_size") or reviews.SIZES[split] for split in SPLITS}
    if config.calibration_size:
        sizes[CALIBRATION] = config.calibration_size
    splits = {
        split: _dataset(
            {
                "text": [example.text for example in examples],
                "label": [example.label for example in examples],
                "difficulty": [example.difficulty for example in examples],
            }
        )
        for split, examples in reviews.generate(seed, sizes).items()
    }
    metrics: list[str] = list(config.metrics or ("accuracy",))
    check_metrics(metrics, len(reviews.LABEL_NAMES))
    return TaskData(REVIEWS, **splits, label_names=list(reviews.LABEL_NAMES), metrics=metrics)


def _read(config: DataConfig, glue: GlueTask | None) -> dict[str, Table]:
    if config.from_files:
        given = {split: getattr(config, f"{split}_file") for split in SPLITS}
        files = {split: path for split, path in given.items() if path}
        check_files(files)
        return {split: read_file(path, f"data.{split}_file") for split, path in files.items()}
    named: dict[str, str] = dict(config.hub_splits.items())
    if glue is not None and config.hub_name is None:
        splits = {"train": "train", "test": glue.test_split, **named}
        check_hub_splits(splits)
        return read_hub(HUB_NAME, config.hub_config or config.task, splits)
    if config.task == CUSTOM and config.hub_name is None:
        raise DataError(
            "data.task is 'custom', but nothing says where its examples are",
            "give data.train_file=... data.test_file=..., or data.hub_name=...",
        )
    splits = {**{split: split for split in SPLITS}, **named}
    check_hub_splits(splits)
    optional = {"validation"} - named.keys()
    if config.hub_name is not None:
        return read_hub(config.hub_name, config.hub_config, splits, optional)
    try:
        return read_hub(config.task, config.hub_config, splits, optional)
    except DataError as error:
        known = ", ".join([REVIEWS, *GLUE_TASKS])
        error.mend = f"tasks known by name: {known}; {error.mend}"
        raise


def _without_empty(table: Table, columns: tuple[str, str | None]) -> Table:
    """GLUE's own training data (QQP) has a few empty questions, which nobody but GLUE could mend."""
    texts = [table.columns[name] for name in columns if name is not None and name in table.columns]
    kept = [row for row in range(len(table)) if all(values[row] and values[row].strip() for values in texts)]
    if len(kept) == len(table):
        return table
    logger.warning("%s: %d examples with an empty text are left out", table.origin, len(table) - len(kept))

    def read(name: str) -> list[Any]:
        values = table.columns[name]
        return [values[row] for row in kept]

    columns_kept = Columns(list(table.columns), read)
    return Table(
        table.origin, columns_kept, len(kept), lambda row: table.locate(kept[row]), table.class_names
    )


def _examples(
    table: Table, texts: tuple[str, str | None], label: str, names: Sequence[str], renamed: bool = False
) -> datasets.Dataset:
    values: dict[str, list[Any]] = {"text": read_texts(table, texts[0], "text")}
    if texts[1] is not None:
        values["text_pair"] = read_texts(table, texts[1], "text_pair")
    values["label"] = read_labels(table, label, names, renamed)
    return _dataset(values)


def _renumbered(data: datasets.Dataset, names: Sequence[str], numbered: Sequence[str]) -> datasets.Dataset:
    """The examples with labels that are positions in ``numbered``, where they are in ``names``."""
    values = {column: list(data[column]) for column in data.column_names}
    values["label"] = [numbered.index(names[label]) for label in values["label"]]
    return _dataset(values)


def _dataset(values: dict[str, list[Any]]) -> datasets.Dataset:
    import datasets

    features = {name: datasets.Value("int64" if name == "label" else "string") for name in values}
    return datasets.Dataset.from_dict(values, features=datasets.Features(features))


def _divide(
    examples: dict[str, datasets.Dataset], config: DataConfig, rng: np.random.Generator
) -> dict[str, datasets.Dataset]:
    """The splits of the sizes asked for, out of what was read."""
    train = examples["train"]
    result = {}
    if config.calibration_size:
        # Before all that is held out by label: what is left then is no plain sample any more.
        # By lots of its own, so that the test examples are the same with and without it.
        train, result[CALIBRATION] = _draw(train, config.calibration_size, rng.spawn(1)[0])
    if "test" in examples:
        result["test"] = _at_most(examples["test"], config.test_size, rng)
    else:
        wanted = max(1, round((config.test_fraction or 0) * len(train)))
        train, result["test"] = _hold_out(train, min(wanted, config.test_size or wanted), rng, "test")
    if "validation" in examples:
        result["validation"] = _at_most(examples["validation"], config.validation_size, rng)
    else:
        used = min(config.train_size or len(train), len(train))
        wanted = config.validation_size or max(1, round(config.validation_fraction * used))
        train, result["validation"] = _hold_out(train, wanted, rng, "validation")
    result["train"] = _at_most(train, config.train_size, rng)
    return result


def _hold_out(
    data: datasets.Dataset, size: int, rng: np.random.Generator, split: str
) -> tuple[datasets.Dataset, datasets.Dataset]:
    _check_rest(data, size, split, f"lower data.{split}_size, or give data.{split}_file")
    chosen, rest = stratified(data["label"], size, rng)
    return data.select(rest), data.select(chosen)


def _draw(
    data: datasets.Dataset, size: int, rng: np.random.Generator
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Hold out a plain sample: row by row, each as likely as any other, whatever its label and its text.

    A text that comes often is as frequent in it as elsewhere, and may be in both parts: what is to come has
    it as well. A test of a policy needs no less.
    """
    _check_rest(data, size, CALIBRATION, "lower data.calibration_size")
    order = rng.permutation(len(data))
    return data.select(np.sort(order[size:]).tolist()), data.select(np.sort(order[:size]).tolist())


def _check_rest(data: datasets.Dataset, size: int, split: str, mend: str) -> None:
    if size >= len(data):
        raise DataError(
            f"{size} {split} examples are to be held out of {len(data)} for training: none would be left",
            mend,
        )


def _at_most(data: datasets.Dataset, size: int | None, rng: np.random.Generator) -> datasets.Dataset:
    if size is None or size >= len(data):
        return data
    return data.select(stratified(data["label"], size, rng)[0])


def stratified(labels: Sequence[int], size: int, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Draw ``size`` positions so that every label keeps its share, to the nearest example.

    Returns:
        The drawn positions and the others, both ascending.
    """
    values = np.asarray(labels)
    classes, counts = np.unique(values, return_counts=True)
    exact = counts * (size / len(values))
    shares = np.floor(exact).astype(int)
    # the largest remainders take what rounding down left over
    order = np.argsort(shares - exact, kind="stable")
    shares[order[: size - shares.sum()]] += 1
    drawn = [
        rng.permutation(np.flatnonzero(values == label))[:share]
        for label, share in zip(classes, shares, strict=True)
    ]
    chosen = np.sort(np.concatenate(drawn))
    rest = np.setdiff1d(np.arange(len(values)), chosen)
    return chosen.tolist(), rest.tolist()
