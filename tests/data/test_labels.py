"""Labels of every form, names that are given, and the order of a model's own."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from prunekit.data import DataConfig, TaskData, label_names_of_model, load_examples, load_task, load_texts
from prunekit.errors import CheckpointError, DataError
from prunekit.models import ModelConfig

fast = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def jsonl(path: Path, labels: list[Any], texts: list[str] | None = None) -> str:
    rows = [{"text": texts[n] if texts else f"text {n}", "label": label} for n, label in enumerate(labels)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def parquet(path: Path, labels: list[int], names: list[str]) -> str:
    features = {"label": {"_type": "ClassLabel", "names": names}}
    table = pyarrow.table({"text": [f"text {n}" for n in range(len(labels))], "label": labels})
    metadata = json.dumps({"info": {"features": features}})
    pyarrow.parquet.write_table(table.replace_schema_metadata({b"huggingface": metadata}), path)
    return str(path)


def load(train: str, test: str | None = None, names: list[str] | None = None, **keys: Any) -> TaskData:
    return load_task(DataConfig(task="mine", train_file=train, test_file=test or train, **keys), 0, names)


def refusal(*arguments: Any, **keys: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(*arguments, **keys)
    return str(caught.value)


def named(task: TaskData) -> dict[str, str]:
    """Text -> name of its label, of all splits."""
    return {row["text"]: task.label_names[row["label"]] for split in task.splits.values() for row in split}


# What a label may be


@fast
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=9, unique=True), st.data())
def test_whole_numbers_are_one_label_however_they_are_written(
    tmp_path: Path, numbers: list[int], data: st.DataObject
) -> None:
    forms = [int, float, str, lambda n: f" {n}.0 ", lambda n: f"{n}.", lambda n: f"{n:+03d}"]
    labels = [data.draw(st.sampled_from(forms))(number) for number in numbers * 4]
    task = load(jsonl(tmp_path / "a.jsonl", labels))
    assert task.label_names == [str(number) for number in sorted(numbers)]
    assert list(task.test["label"]) == [sorted(numbers).index(number) for number in numbers * 4]


def test_floats_of_a_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"text {n},{float(n % 2)}\n" for n in range(10)))
    assert load(str(path)).label_names == ["0", "1"]


@pytest.mark.parametrize("missing", [None, float("nan"), "", "  "])
def test_a_label_that_is_missing_is_named_by_line(tmp_path: Path, missing: Any) -> None:
    labels = [0, 1, 0, 1, 0, 1, 0, missing, 1]
    assert "line 8: column 'label' is empty" in refusal(jsonl(tmp_path / "a.jsonl", labels))


@pytest.mark.parametrize("value", [0.5, "0.5", float("inf"), "1e-3"])
def test_numbers_that_are_not_whole_are_regression(tmp_path: Path, value: Any) -> None:
    message = refusal(jsonl(tmp_path / "a.jsonl", [0, 1.0, value, 2]))
    assert "line 3" in message and "regression" in message


@pytest.mark.parametrize(
    "labels", [[True, False], ["True", "False"], [" yes", "no "], ["nan", "inf"], ["1_0", "2_0"], ["٣", "٤"]]
)
def test_words(tmp_path: Path, labels: list[Any]) -> None:
    task = load(jsonl(tmp_path / "a.jsonl", labels * 4))
    assert task.label_names == sorted(str(label).strip() for label in labels)


@pytest.mark.parametrize("label", [["a"], {"a": 1}])
def test_a_label_that_is_no_value(tmp_path: Path, label: Any) -> None:
    assert "line 2: column 'label' holds" in refusal(jsonl(tmp_path / "a.jsonl", ["a", label]))


def test_labels_of_thousands_of_digits(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"text {n},{'9' * 5000}{n % 2}\n" for n in range(8)))
    assert "line 2: column 'label' holds 999" in refusal(str(path))


# Characters


@pytest.mark.parametrize("place", ["text", "label"])
def test_half_a_character_is_refused_with_its_place(tmp_path: Path, place: str) -> None:
    labels, texts = ["a", "b", "a", "b"], ["one", "two", "three", "four"]
    (texts if place == "text" else labels)[2] += "\ud83d"
    message = refusal(jsonl(tmp_path / "a.jsonl", labels, texts))
    assert f"line 3: column '{place}' holds half a character" in message
    message.encode("utf-8")


def test_half_a_character_in_given_names() -> None:
    for names in (["a", "b\ud83d"], ["a", " "], ["a", "a "]):
        with pytest.raises(ValidationError):
            DataConfig(task="mine", train_file="a", test_file="b", label_names=names)


def test_control_characters_are_data(tmp_path: Path) -> None:
    texts = [f"bell \x07 {n} \x1b[2J\x00 end" for n in range(8)]
    assert sorted(named(load(jsonl(tmp_path / "a.jsonl", ["a", "b\x07"] * 4, texts)))) == sorted(texts)


def test_a_text_that_is_no_text(tmp_path: Path) -> None:
    for value, words in ((float("nan"), "is empty"), (None, "is empty"), (7, "int 7"), (["a"], "list")):
        path = jsonl(tmp_path / "a.jsonl", ["a", "b"] * 2, ["a", "b", value, "c"])  # type: ignore[list-item]
        assert "line 3" in refusal(path) and words in refusal(path)


# Names that are given


def test_one_example_a_class_where_names_are_given(tmp_path: Path) -> None:
    names = [f"class {n}" for n in range(30)]
    path = jsonl(tmp_path / "a.jsonl", names)
    test = jsonl(tmp_path / "b.jsonl", ["class 7"])
    assert load(path, test, label_names=names).label_names == names
    assert "30 labels in 30 examples" in refusal(path, test)
    assert list(load(test, test, label_names=names, test_size=1, validation_file=path).train["label"]) == [7]


def test_given_names_that_are_numbers(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", [3.0, "1.0", 1, "03"] * 3)
    task = load(path, label_names=["3.0", "1"])
    assert list(task.test["label"]) == [0, 1, 1, 0] * 3
    assert "are the same" in refusal(path, label_names=["1", "1.0"])


def test_numbers_are_what_each_file_calls_them(tmp_path: Path) -> None:
    train = parquet(tmp_path / "a.parquet", [0, 1] * 4, ["no", "yes"])
    test = parquet(tmp_path / "b.parquet", [0, 1, 1], ["yes", "no"])
    task = load(train, test)
    assert task.label_names == ["no", "yes"] and list(task.test["label"]) == [1, 0, 0]
    assert list(load(train, test, label_names=["yes", "no"]).test["label"]) == [0, 1, 1]
    # New names for the numbers.
    assert list(load(train, train, label_names=["good", "bad"]).test["label"]) == [0, 1] * 4
    other = parquet(tmp_path / "c.parquet", [0, 1], ["bad", "good"])
    message = refusal(train, other)
    assert "c.parquet: the classes of column 'label' are called 'bad', 'good'" in message


def test_examples_for_a_model_that_is_there(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", [0, 1, 1], ["no", "yes"])
    assert list(load_examples(path, "--data", ["yes", "no"])["label"]) == [1, 0, 0]


# The model's own order


def model(folder: Path, names: Any) -> ModelConfig:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "id2label": names}))
    return ModelConfig(name=str(folder))


def test_names_of_a_model(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    assert label_names_of_model(model(folder, {"0": "pos", "1": "neg"})) == ["pos", "neg"]
    assert label_names_of_model(model(folder, {"1": "neg", "0": "pos "})) == ["pos", "neg"]
    for strange in (
        {"0": "LABEL_0", "1": "LABEL_1"}, {"0": "a"}, {"0": "a", "1": "a"}, {"0": "a", "2": "b"},
        {"0": 1, "1": 2}, {"0": "a", "1": "b\ud83d"}, {"0": "a", "1": " "}, ["a", "b"], None, 7, {},
    ):  # fmt: skip
        assert label_names_of_model(model(folder, strange)) is None
    assert label_names_of_model(ModelConfig()) is None
    with pytest.raises(CheckpointError):
        label_names_of_model(ModelConfig(name=str(tmp_path / "none")))


@fast
@given(
    st.permutations(["a", "b", "c"]),
    st.lists(st.sampled_from("abc"), min_size=9, max_size=30),
    st.integers(0, 9),
)
def test_a_models_order_changes_numbers_and_nothing_else(
    tmp_path: Path, order: list[str], labels: list[str], seed: int
) -> None:
    if len(set(labels)) == 1:
        labels = [*labels, "a", "b"]
    config = DataConfig(task="mine", train_file=jsonl(tmp_path / "a.jsonl", labels), test_fraction=0.3)
    plain, ordered = load_task(config, seed), load_task(config, seed, order)
    assert ordered.label_names == order
    for split, data in plain.splits.items():
        assert list(ordered.splits[split]["text"]) == list(data["text"])
    assert named(ordered) == named(plain)


def test_which_names_come_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = jsonl(tmp_path / "a.jsonl", ["pos", "neg"] * 5)
    with caplog.at_level(logging.INFO):
        assert load(path, names=["pos", "neg"]).label_names == ["pos", "neg"]
        assert "as the model numbers them: 'pos', 'neg'" in caplog.text
        caplog.clear()
        assert load(path, names=["pos", "even", "neg"]).label_names == ["pos", "even", "neg"]
        assert "no training example has 'even'" in caplog.text
        caplog.clear()
        assert load(path, names=["good", "bad"]).label_names == ["neg", "pos"]
        assert "do not have all of them" in caplog.text
        caplog.clear()
        assert load(path, names=["pos", "neg"], label_names=["neg", "pos"]).label_names == ["neg", "pos"]
        assert load(path, names=["neg", "pos"]).label_names == ["neg", "pos"]
        assert "number" not in caplog.text
    numbers = jsonl(tmp_path / "b.jsonl", [0, 1] * 5)
    glue = DataConfig(task="sst2", text="text", train_file=numbers, test_file=numbers)
    assert load_task(glue, 0, ["positive", "negative"]).label_names == ["negative", "positive"]


# Texts without labels


def test_texts_of_a_table_keep_their_order_and_need_no_label(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("opinion,label,second\nb,,x\n\na,7.5,y\n", encoding="utf-8")
    columns = DataConfig(task="mine", train_file="t", test_file="t", text="opinion", text_pair="second")
    assert load_texts(str(path), "--file", columns) == [
        (f"{path}, line 2", ("b", "x")),
        (f"{path}, line 4", ("a", "y")),
    ]
    with pytest.raises(DataError, match="cannot find the text"):
        load_texts(str(path), "--file")
    path.write_text("text\na\n")
    with pytest.raises(DataError, match="pairs are asked for"):
        load_texts(str(path), "--file", pair=True)
