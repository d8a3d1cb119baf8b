"""Parts of a task that are not apart: refused where they are one file, counted where they share texts."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from prunekit.data import DataConfig, load_task
from prunekit.errors import DataError


def rows(*numbers: int) -> str:
    return "text\tlabel\n" + "".join(f"text {n}\t{'good' if n % 2 else 'bad'}\n" for n in numbers)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, numbers in (
        ("train", range(20)), ("dev", range(30, 40)), ("test", range(50, 58)), ("mixed", [1, 2, 3, 51, 90]),
    ):  # fmt: skip
        (tmp_path / f"{name}.tsv").write_text(rows(*numbers))
    return tmp_path


def load(folder: Path, **files: str) -> None:
    paths = {f"{split}_file": str(folder / f"{name}.tsv") for split, name in files.items()}
    load_task(DataConfig(task="mine", **paths), 0)


@pytest.mark.parametrize("other", ["train", "test"])
@pytest.mark.parametrize("way", ["same", "link", "hard link", "detour"])
def test_validation_from_a_file_of_another_part(folder: Path, other: str, way: str) -> None:
    name = other
    if way == "link":
        name = "link"
        (folder / "link.tsv").symlink_to(folder / f"{other}.tsv")
    if way == "hard link":
        name = "link"
        (folder / "link.tsv").hardlink_to(folder / f"{other}.tsv")
    if way == "detour":
        (folder / "sub").mkdir()
        name = f"sub/../{other}"
    with pytest.raises(DataError, match=rf"data\.validation_file and data\.{other}_file are the same file"):
        load(folder, train="train", validation=name, test="test")


def test_a_hub_split_for_two_parts() -> None:
    """GLUE's validation split is reported; nothing is downloaded to see it."""
    with pytest.raises(DataError, match=r"data\.hub_splits\.validation and data\.hub_splits\.test"):
        load_task(DataConfig(task="mrpc", hub_splits={"validation": "validation"}), 0)
    with pytest.raises(DataError, match=r"data\.hub_splits\.validation and data\.hub_splits\.train"):
        load_task(DataConfig(task="x", hub_name="some/set", hub_splits={"validation": "train"}), 0)


def test_files_that_are_apart(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load(folder, train="train", validation="dev", test="test")
        load(folder, train="train", test="test")
    assert not caplog.text


def test_shared_texts_are_counted_once_each(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """``mixed`` has three texts of train and one of test."""
    with caplog.at_level(logging.WARNING):
        load(folder, train="train", validation="mixed", test="test")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith("1 of 8 test examples of mine are also among its validation examples")
    assert said[1].startswith("3 of 5 validation examples of mine are also in its training data")


def test_a_copy_under_another_name(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "copy.tsv").write_text((folder / "test.tsv").read_text())
    with caplog.at_level(logging.WARNING):
        load(folder, train="train", validation="copy", test="test")
    assert "8 of 8 test examples of mine are also among its validation examples" in caplog.text


def test_texts_that_the_training_data_have_twice(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Held out of them, validation examples share texts with them: not a mistake of the recipe."""
    (folder / "twice.tsv").write_text(rows(*range(20), *range(20)))
    with caplog.at_level(logging.WARNING):
        load(folder, train="twice", test="test")
    assert not caplog.text


def test_trained_on_and_reported(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load(folder, train="train", test="train")
    assert "data.train_file and data.test_file are the same file" in caplog.text
    assert "data.test_fraction" in caplog.text
