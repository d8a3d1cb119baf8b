"""Tasks from files: columns, labels, splits, and what is refused."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from prunekit.data import GLUE_TASKS, DataConfig, TaskData, load_task
from prunekit.data.tasks import stratified
from prunekit.errors import DataError

SHARED = Path(__file__).parents[3] / "shared" / "data" / "glue"


def tsv(path: Path, header: str, rows: list[str]) -> str:
    path.write_text("\n".join([header, *rows]).replace("|", "\t") + "\n", encoding="utf-8")
    return str(path)


def files(tmp_path: Path, header: str, train: list[str], test: list[str] | None = None) -> dict[str, str]:
    return {
        "train_file": tsv(tmp_path / "train.tsv", header, train),
        "test_file": tsv(tmp_path / "test.tsv", header, test or train[:2]),
    }


def custom(
    tmp_path: Path, header: str, train: list[str], test: list[str] | None = None, **keys: Any
) -> TaskData:
    return load_task(DataConfig(task="custom", **files(tmp_path, header, train, test), **keys), seed=0)


def refused(tmp_path: Path, header: str, train: list[str], test: list[str] | None = None, **keys: Any) -> str:
    with pytest.raises(DataError) as caught:
        custom(tmp_path, header, train, test, **keys)
    assert caught.value.mend
    assert "\n" not in caught.value.message
    return str(caught.value)


TEN = [f"text {n}|{'good' if n % 2 else 'bad'}" for n in range(10)]


# Columns and labels


@pytest.mark.parametrize(
    ("header", "pair"),
    [
        ("sentence|label", False),
        ("text|labels", False),
        ("sentence1|sentence2|label", True),
        ("question|sentence|label", True),
        ("premise|hypothesis|label", True),
        ("text|text_pair|label", True),
    ],
)
def test_known_column_names(tmp_path: Path, header: str, pair: bool) -> None:
    rows = [f"left {n}{f'|right {n}' if pair else ''}|{n % 2}" for n in range(10)]
    task = custom(tmp_path, header, rows)
    assert task.is_pair is pair
    assert set(task.train["text"]) <= {f"left {n}" for n in range(10)}
    if pair:
        assert set(task.train["text_pair"]) <= {f"right {n}" for n in range(10)}


def test_named_columns(tmp_path: Path) -> None:
    rows = [f"{n}|a {n}|b {n}|{n % 3}" for n in range(12)]
    task = custom(tmp_path, "id|left|right|class", rows, text="left", text_pair="right", label="class")
    assert task.test["text"][1] == "a 1"
    assert task.test["text_pair"][1] == "b 1"
    assert task.num_labels == 3


def test_string_labels_are_sorted_and_can_be_ordered(tmp_path: Path) -> None:
    task = custom(tmp_path, "text|label", TEN)
    assert task.label_names == ["bad", "good"]
    assert list(task.test["label"]) == [0, 1]
    task = custom(tmp_path, "text|label", TEN, label_names=["good", "bad"])
    assert list(task.test["label"]) == [1, 0]


def test_integer_labels_sort_by_value(tmp_path: Path) -> None:
    rows = [f"text {n}|{(2, 10, -1)[n % 3]}" for n in range(12)]
    task = custom(tmp_path, "text|label", rows, rows[:3])
    assert task.label_names == ["-1", "2", "10"]
    assert list(task.test["label"]) == [1, 2, 0]


def test_names_for_numbered_labels(tmp_path: Path) -> None:
    rows = [f"text {n}|{n % 2}" for n in range(10)]
    task = custom(tmp_path, "text|label", rows, label_names=["no", "yes"])
    assert list(task.test["label"]) == [0, 1]
    assert task.label_names == ["no", "yes"]


def test_words_that_look_like_nothing_are_words(tmp_path: Path) -> None:
    task = custom(tmp_path, "text|label", ["null|NA", "nan|none", "None|NA", "n/a|none"] * 3)
    assert set(task.test["text"]) == {"null", "nan"}
    assert task.label_names == ["NA", "none"]


def test_json_with_integers_and_booleans(tmp_path: Path) -> None:
    for labels, names in (([0, 1], ["0", "1"]), ([False, True], ["False", "True"])):
        path = tmp_path / "data.jsonl"
        path.write_text(
            "".join(json.dumps({"text": f"t{n}", "label": labels[n % 2]}) + "\n" for n in range(10))
        )
        task = load_task(DataConfig(task="x", train_file=str(path), test_file=str(path)), 0)
        assert task.label_names == names
        assert list(task.test["label"]) == [0, 1] * 5


# What is refused


def test_missing_columns(tmp_path: Path) -> None:
    message = refused(tmp_path, "words|label", TEN)
    assert "train.tsv" in message
    assert "'words', 'label'" in message
    assert "data.text=" in message
    assert "data.label=" in refused(tmp_path, "text|class", TEN)
    assert "column 'nope'" in refused(tmp_path, "text|label", TEN, text="nope")
    assert "column 'right'" in refused(tmp_path, "text|label", TEN, text_pair="right")


def test_missing_column_in_the_test_file(tmp_path: Path) -> None:
    paths = files(tmp_path, "text|label", TEN)
    tsv(Path(paths["test_file"]), "text|other", TEN)
    with pytest.raises(DataError, match=r"test\.tsv: cannot find column 'label'"):
        load_task(DataConfig(task="custom", **paths), 0)


def test_numbers_are_no_text(tmp_path: Path) -> None:
    message = refused(tmp_path, "text|label", [f"{n}|{n % 2}" for n in range(10)])
    assert "column 'text' holds the number 0" in message
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "a", "label": 0}\n{"text": ["b"], "label": 1}\n')
    with pytest.raises(DataError, match="text"):
        load_task(DataConfig(task="x", train_file=str(path), test_file=str(path)), 0)


def test_empty_text_and_label_are_named_by_line(tmp_path: Path) -> None:
    assert "train.tsv, line 4: column 'text' is empty" in refused(
        tmp_path, "text|label", [*TEN[:2], "|good", *TEN]
    )
    assert "line 4: column 'text' is empty" in refused(tmp_path, "text|label", [*TEN[:2], "  |good", *TEN])
    assert "train.tsv, line 12: column 'label' is empty" in refused(tmp_path, "text|label", [*TEN, "text|"])
    assert "train.tsv, line 12 has 1 value where the header has 2 columns" in refused(
        tmp_path, "text|label", [*TEN, "text"]
    )


def test_label_outside_the_set(tmp_path: Path) -> None:
    message = refused(tmp_path, "text|label", TEN, [*TEN[:3], "text|ugly"])
    assert "test.tsv, line 5: column 'label' holds the label ugly" in message
    assert "'bad', 'good'" in message
    message = refused(tmp_path, "text|label", [*TEN, "text|ugly"], label_names=["bad", "good"])
    assert "train.tsv, line 12" in message
    message = refused(tmp_path, "text|label", [f"t{n}|{n % 3}" for n in range(9)], label_names=["no", "yes"])
    assert "train.tsv, line 4" in message


def test_regression_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, "text|label", [f"t{n}|{n / 2}" for n in range(10)])
    assert "train.tsv, line 3" in message  # line 2 holds 0.0
    assert "regression" in message
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{"text": f"t{n}", "label": n * 0.25} for n in range(8)]))
    with pytest.raises(DataError, match="regression"):
        load_task(DataConfig(task="x", train_file=str(path), test_file=str(path)), 0)


def test_one_class_and_too_many_classes(tmp_path: Path) -> None:
    assert "one label" in refused(tmp_path, "text|label", ["a|x", "b|x", "c|x"])
    assert "60 labels in 60 examples" in refused(tmp_path, "text|label", [f"t{n}|id{n}" for n in range(60)])


def test_unlabelled_test_data(tmp_path: Path) -> None:
    rows = [f"a {n}|b {n}|{n % 2}" for n in range(10)]
    paths = files(tmp_path, "sentence1|sentence2|label", rows, ["a|b|-1", "c|d|-1"])
    with pytest.raises(DataError, match="unlabelled"):
        load_task(DataConfig(task="mrpc", **paths), 0)


def test_f1_with_three_classes(tmp_path: Path) -> None:
    assert "two classes" in refused(
        tmp_path, "text|label", [f"t{n}|{n % 3}" for n in range(9)], metrics=["f1"]
    )


def test_nothing_left_to_train_on(tmp_path: Path) -> None:
    message = refused(tmp_path, "text|label", TEN, validation_size=10)
    assert "none would be left" in message
    assert "data.validation_size" in message


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"tusk": "sst2"}, "tusk"),
        ({"task": "stsb"}, "regression"),
        ({"task": "STS-B"}, "regression"),
        ({"train_file": "a.csv", "test_file": "b.csv"}, "generated"),
        ({"task": "sst2", "train_file": "a.csv"}, "test_fraction"),
        ({"task": "sst2", "test_file": "a.csv"}, "train_file"),
        ({"task": "x", "train_file": "a.csv", "test_file": "b.csv", "hub_name": "c"}, "hub_name"),
        ({"task": "x", "train_file": "a.csv", "test_file": "b.csv", "test_fraction": 0.1}, "keep one"),
        ({"label_names": ["a", "a"], "task": "x"}, "differ"),
        ({"metrics": ["bleu"]}, "accuracy"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"train_size": 0}, "train_size"),
        ({"hub_splits": {"dev": "x"}}, "dev"),
    ],
)
def test_configurations_that_cannot_be_followed(keys: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        DataConfig(**keys)


def test_every_key_is_described() -> None:
    assert all(field.description for field in DataConfig.model_fields.values())


def test_unknown_task_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="no network") as caught:
        load_task(DataConfig(task="mrcp"), 0)
    assert "mrpc" in (caught.value.mend or "")
    with pytest.raises(DataError, match="custom"):
        load_task(DataConfig(task="custom"), 0)
    with pytest.raises(DataError, match="nyu-mll/glue"):
        load_task(DataConfig(task="mrpc"), 0)


# Splits


def test_held_out_parts_lose_nothing(tmp_path: Path) -> None:
    rows = [f"text {n}|{'good' if n % 4 else 'bad'}" for n in range(200)]
    path = tsv(tmp_path / "all.tsv", "text|label", rows)
    task = load_task(DataConfig(task="x", train_file=path, test_fraction=0.2, validation_fraction=0.25), 1)
    assert [len(data) for data in task.splits.values()] == [120, 40, 40]
    texts = [text for data in task.splits.values() for text in data["text"]]
    assert sorted(texts) == sorted(row.split("|")[0] for row in rows)
    for data in task.splits.values():
        assert Counter(data["label"])[0] == len(data) // 4


def test_what_train_size_leaves_over_validates(tmp_path: Path) -> None:
    rows = [f"text {n}|{n % 2}" for n in range(100)]
    for keys, sizes in (
        ({"train_size": 50}, [50, 5]),
        ({"train_size": 80, "validation_size": 20}, [80, 20]),
        ({"train_size": 95, "validation_size": 20}, [80, 20]),
        ({"train_size": 1000}, [90, 10]),
    ):
        task = custom(
            tmp_path, "text|label", rows, [f"other {n}|{n % 2}" for n in range(9)], test_size=4, **keys
        )
        assert [len(task.train), len(task.validation), len(task.test)] == [*sizes, 4]
        assert not set(task.train["text"]) & set(task.validation["text"])


def test_a_validation_file_leaves_train_whole(tmp_path: Path) -> None:
    valid = tsv(tmp_path / "valid.tsv", "text|label", ["v 1|bad", "v 2|good", "v 3|bad"])
    task = custom(tmp_path, "text|label", TEN, validation_file=valid)
    assert len(task.train) == 10
    assert list(task.validation["text"]) == ["v 1", "v 2", "v 3"]


def test_the_seed_decides_and_only_the_seed(tmp_path: Path) -> None:
    rows = [f"text {n}|{n % 2}" for n in range(100)]
    config = DataConfig(task="x", **files(tmp_path, "text|label", rows))
    first, again, other = (list(load_task(config, seed).validation["text"]) for seed in (3, 3, 4))
    assert first == again != other
    fixed = config.model_copy(update={"seed": 3})
    assert list(load_task(fixed, 4).validation["text"]) == first


def test_overlap_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        custom(tmp_path, "text|label", TEN, ["text 1|bad", "new|good"], validation_fraction=0.01)
    assert "1 of 2 test examples" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        custom(tmp_path, "text|label", TEN, ["new 1|bad", "new 2|good"])
    assert not caplog.text


@settings(deadline=None)
@given(st.data())
def test_stratified_keeps_every_share(data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=60))
    size = data.draw(st.integers(0, len(labels)))
    chosen, rest = stratified(labels, size, np.random.default_rng(0))
    assert len(chosen) == size
    assert sorted(chosen + rest) == list(range(len(labels)))
    drawn = Counter(labels[position] for position in chosen)
    for label, count in Counter(labels).items():
        assert abs(drawn[label] - count * size / len(labels)) < 1


# The embedded task and GLUE


def test_reviews_by_default() -> None:
    task = load_task(DataConfig(train_size=60, validation_size=20, test_size=40), 0)
    assert [len(data) for data in task.splits.values()] == [60, 20, 40]
    assert task.label_names == ["negative", "positive"]
    assert task.metrics == ["accuracy"]
    assert set(task.train.column_names) == {"text", "label", "difficulty"}


def test_glue_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's answer is replaced: its validation split is reported, validation held out of train."""
    import datasets

    features = datasets.Features(
        question1=datasets.Value("string"),
        question2=datasets.Value("string"),
        label=datasets.ClassLabel(names=["not_duplicate", "duplicate"]),
        idx=datasets.Value("int32"),
    )

    def part(size: int, **changes: list[Any]) -> datasets.Dataset:
        rows = {
            "question1": [f"a {n}" for n in range(size)],
            "question2": [f"b {n}" for n in range(size)],
            "label": [n % 2 for n in range(size)],
            "idx": list(range(size)),
        }
        return datasets.Dataset.from_dict({**rows, **changes}, features=features)

    asked = []

    def load_dataset(*names: str) -> datasets.DatasetDict:
        asked.append(names)
        train = part(41, question2=["", *(f"b {n}" for n in range(40))])
        return datasets.DatasetDict(train=train, validation=part(6), test=part(4, label=[-1] * 4))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    task = load_task(DataConfig(task="qqp"), 0)
    assert asked == [("nyu-mll/glue", "qqp")]
    assert [len(data) for data in task.splits.values()] == [36, 4, 6]
    assert task.metrics == ["f1", "accuracy"]
    assert task.label_names == ["not_duplicate", "duplicate"]
    with pytest.raises(DataError, match="unlabelled"):
        load_task(DataConfig(task="qqp", hub_splits={"test": "test"}), 0)


def test_glue_files_are_read_without_quoting(tmp_path: Path) -> None:
    rows = ['" I said " no|"yes|1', 'plain|"text"|0', "it's|5 \" wide|1", "a|b|0"] * 5
    task = load_task(
        DataConfig(task="mrpc", **files(tmp_path, "sentence1|sentence2|label", rows, rows[:4])), 0
    )
    assert list(task.test["text"]) == ['" I said " no', "plain", "it's", "a"]
    assert list(task.test["text_pair"]) == ['"yes', '"text"', '5 " wide', "b"]
    assert list(task.test["label"]) == [1, 0, 1, 0]
    assert task.metrics == ["f1", "accuracy"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the GLUE files are not here")
@pytest.mark.parametrize(
    ("task", "folder", "train", "test"),
    [
        ("sst2", "SST-2", 67_349, 872),
        ("mrpc", "MRPC", 3_668, 408),
        ("qnli", "QNLI", 20_534, 5_463),
        ("mnli", "MNLI", 27_570, 7_702),
    ],
)
def test_glue_files_row_by_row(task: str, folder: str, train: int, test: int) -> None:
    paths = {
        f"{name}_file": str(SHARED / folder / f"{part}.tsv")
        for name, part in (("train", "train"), ("test", "dev"))
    }
    data = load_task(DataConfig(task=task, **paths), 0)
    assert len(data.train) + len(data.validation) == train
    assert len(data.validation) == round(0.1 * train)
    assert data.label_names == list(GLUE_TASKS[task].label_names)
    lines = (SHARED / folder / "dev.tsv").read_text(encoding="utf-8").rstrip("\n").split("\n")[1:]
    assert len(data.test) == len(lines) == test
    for line, example in zip(lines, data.test, strict=True):
        *texts, label = line.split("\t")
        assert [example[name] for name in ("text", "text_pair") if name in example] == [
            t.strip() for t in texts
        ]
        assert label in (str(example["label"]), data.label_names[example["label"]])
