"""Atomic writing: whole files or the old ones, readable JSON, clear errors."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch

from prunekit.errors import RunError
from prunekit.files import write_json, write_text, write_with


def test_text_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "deep" / "note.txt"
    write_text(path, "eins")
    write_text(path, "zwei ä")
    assert path.read_text(encoding="utf-8") == "zwei ä"
    assert [p.name for p in path.parent.iterdir()] == ["note.txt"]


def test_a_writer_that_fails_leaves_the_old_file(tmp_path):
    path = write_text(tmp_path / "a.txt", "old")

    def half(stream):
        stream.write(b"new but")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match=r"a\.txt.*No space left"):
        write_with(path, half)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_is_a_file_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        write_text(tmp_path / "file" / "x.txt", "")


def test_json_takes_arrays_and_is_strict(tmp_path):
    value = {
        1: np.arange(2),
        "t": torch.tensor(1.5),
        "bad": [float("nan"), float("inf")],
        "p": tmp_path,
        "s": (1, 2),
    }
    text = write_json(tmp_path / "x.json", value).read_text()
    assert json.loads(text) == {"1": [0, 1], "t": 1.5, "bad": [None, None], "p": str(tmp_path), "s": [1, 2]}
    with pytest.raises(TypeError, match="object"):
        write_json(tmp_path / "x.json", {"a": object()})
    assert (tmp_path / "x.json").read_text() == text


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_files_are_readable_as_the_umask_says(tmp_path):
    old = os.umask(0o022)
    try:
        assert write_text(tmp_path / "x", "").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(old)
