"""Calibration examples: apart from all others, and nothing else changes for their sake."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from prunekit.data import DataConfig, TaskData, encode, load_examples, load_task, word_tokenizer
from prunekit.errors import DataError

PARTS = ("train", "validation", "test", "calibration")


def texts(task: TaskData, split: str) -> list[str]:
    return list(task.splits[split]["text"])


def lines(path: Path, rows: list[str]) -> str:
    path.write_text("text\tlabel\n" + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    """Two hundred training examples, of which twenty are there twice, and ten of the test ones among them."""
    rows = [f"text {n}\t{'good' if n % 3 else 'bad'}" for n in range(200)]
    return DataConfig(
        task="mine",
        train_file=lines(tmp_path / "train.tsv", rows + rows[:20]),
        test_file=lines(tmp_path / "test.tsv", [*rows[30:40], "other\tgood"]),
    )


@pytest.mark.parametrize("settings", [{}, {"train_size": 60}, {"validation_size": 30}])
def test_apart_from_all_others(config: DataConfig, settings: dict[str, Any]) -> None:
    config = config.model_copy(update=settings)
    plain = load_task(config, 5)
    task = load_task(config.model_copy(update={"calibration_size": 80}), 5)
    assert tuple(task.splits) == PARTS
    assert len(task.calibration) == 80
    for split in PARTS[:3]:
        assert not set(texts(task, split)) & set(texts(task, "calibration"))
    assert plain.calibration is None
    assert "calibration" not in plain.splits
    # Thresholds and checkpoints are chosen on the same examples as without it.
    assert texts(task, "validation") == texts(plain, "validation")
    assert texts(task, "test") == texts(plain, "test")
    assert len(task.train) == settings.get("train_size", len(task.train))


def test_the_rest_trains(config: DataConfig) -> None:
    """What is neither validated nor calibrated with, repeated texts of those aside."""
    task = load_task(config.model_copy(update={"calibration_size": 50}), 1)
    whole = load_task(config, 1)
    held = set(texts(task, "calibration"))
    assert texts(task, "train") == [text for text in texts(whole, "train") if text not in held]


def test_a_plain_sample(config: DataConfig) -> None:
    """Drawn evenly: the number of good ones varies from seed to seed, as a stratified one's would not."""
    config = config.model_copy(update={"calibration_size": 40, "seed": None})
    counts = {Counter(load_task(config, seed).calibration["label"])[1] for seed in range(12)}
    assert len(counts) > 2


@pytest.mark.parametrize("size", [195, 1000])
def test_too_many(config: DataConfig, size: int) -> None:
    with pytest.raises(DataError, match="calibration examples") as caught:
        load_task(config.model_copy(update={"calibration_size": size}), 0)
    assert "data.calibration_size" in str(caught.value.mend)


def test_generated() -> None:
    config = DataConfig(train_size=40, validation_size=30, test_size=20)
    plain = load_task(config, 3)
    task = load_task(config.model_copy(update={"calibration_size": 50}), 3)
    assert [len(task.splits[split]) for split in PARTS] == [40, 30, 20, 50]
    every = [text for split in PARTS for text in texts(task, split)]
    assert len(set(every)) == len(every)
    assert texts(task, "validation") == texts(plain, "validation")
    assert texts(task, "test") == texts(plain, "test")


def test_encoded() -> None:
    task = load_task(DataConfig(train_size=40, validation_size=20, test_size=20, calibration_size=30), 3)
    encoded = encode(task, word_tokenizer(task.train["text"]), 64)
    assert len(encoded.splits["calibration"]) == len(encoded.lengths("calibration")) == 30
    assert encoded.truncated["calibration"] == 0


def test_examples_of_a_file(tmp_path: Path) -> None:
    path = lines(tmp_path / "some.tsv", ["one\tgood", "two\tbad", "three\tgood"])
    data = load_examples(path, "--data", ["bad", "good"])
    assert list(data["text"]) == ["one", "two", "three"]
    assert list(data["label"]) == [1, 0, 1]
    with pytest.raises(DataError, match=r"some\.tsv, line 3") as caught:
        load_examples(path, "--data", ["good", "fair"])
    assert "good, fair" in str(caught.value.mend)
    with pytest.raises(DataError, match="--data"):
        load_examples(str(tmp_path / "none.tsv"), "--data", ["a", "b"])
