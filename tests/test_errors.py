"""What the system refuses is told as what it is."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from prunekit.errors import system_error

# Real refusals, met by somebody who is not root: what is tried, and what system_error makes of it.
REFUSALS = """
import json, os, sys
from pathlib import Path
from prunekit.errors import system_error
if os.geteuid() == 0:
    os.setgid(65534); os.setuid(65534)
tries = {
    "closed folder, file": lambda: Path("closed/a.yaml").read_text(),
    "closed folder, look": lambda: os.stat("closed/a.yaml"),
    "closed folder, list": lambda: os.listdir("closed"),
    "closed file": lambda: Path("shut").read_text(),
    "read-only file": lambda: Path("fixed").write_text("x"),
    "read-only folder, new file": lambda: Path("still/new").write_text("x"),
    "read-only folder, new folders": lambda: Path("still/a").mkdir(parents=True),
    "too long": lambda: Path("a" * 5000).read_text(),
    "a folder": lambda: Path("still").read_text(),
}
said = {}
for name, attempt in tries.items():
    try:
        attempt()
    except OSError as error:
        told = system_error(error)
        said[name] = told and told.message
print(json.dumps(said))
"""


def test_reading_is_told_from_writing(tmp_path):
    for name, mode in (("closed", 0), ("still", 0o555)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    for name, mode in (("shut", 0), ("fixed", 0o444)):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(mode)
    tmp_path.chmod(0o755)  # pytest makes it for its owner alone
    code = f"import os; os.chdir({str(tmp_path)!r})\n{REFUSALS}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    (tmp_path / "closed").chmod(0o755)
    denied = os.strerror(errno.EACCES)
    assert json.loads(done.stdout) == {
        "closed folder, file": f"cannot read closed/a.yaml: {denied}",
        "closed folder, look": f"cannot read closed/a.yaml: {denied}",
        "closed folder, list": f"cannot read closed: {denied}",
        "closed file": f"cannot read shut: {denied}",
        "read-only file": f"cannot write: fixed: {denied}",
        "read-only folder, new file": f"cannot write: still/new: {denied}",
        "read-only folder, new folders": f"cannot write: still/a: {denied}",
        "too long": f"cannot use {'a' * 5000}: {os.strerror(errno.ENAMETOOLONG)}",
        "a folder": f"cannot use still: {os.strerror(errno.EISDIR)}",
    }


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG])
@pytest.mark.parametrize("name", [None, "runs/x"])
def test_only_writing_meets_a_full_disk(number, name):
    told = system_error(OSError(number, os.strerror(number), name))
    assert told is not None and told.message.startswith("cannot write: ")
    assert "make room" in str(told.mend)


def test_words_of_the_tensor_writers_are_understood():
    told = system_error(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert told is not None and told.message == f"cannot write: {os.strerror(28)}"


def allocate(action):
    try:
        action()
    except (MemoryError, RuntimeError) as error:
        return error
    raise AssertionError("that was allocated")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        allocate(lambda: torch.empty(2**55)),
        allocate(lambda: np.empty(2**55)),
    ],
    ids=["python", "cuda", "system", "torch", "numpy"],
)
def test_too_little_memory_says_what_to_do(error):
    wrapped = RuntimeError("while training")
    wrapped.__cause__ = error
    for one in (error, wrapped):
        told = system_error(one)
        assert told is not None and told.message.startswith("there is not enough memory")
        assert "smaller batches" in str(told.mend) and told.exit_code == 2


def test_endless_nesting_is_no_bug():
    def deeper(value):
        return [deeper(value)]

    try:
        deeper(0)
    except RecursionError as error:
        told = system_error(error)
    assert told is not None and "nested too deeply" in told.message


@pytest.mark.parametrize("error", [ValueError("a"), KeyError("b"), OSError("c"), RuntimeError("os error x")])
def test_all_else_is_left_to_who_raised_it(error):
    assert system_error(error) is None
