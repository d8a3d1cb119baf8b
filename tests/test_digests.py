"""Any change of a file is seen, and no path leads out of its folder."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from prunekit.digests import InsidePath, broken, damaged, digest_file, digests_of, seal

FILES = st.dictionaries(
    st.sampled_from(["a", "b.json", "deep/c", "deep/er/d", "e"]), st.binary(max_size=40), min_size=1
)


def fill(folder, files):
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@given(files=FILES)
@settings(max_examples=50, deadline=None)
def test_digests_are_those_of_sha256(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("files")
    fill(folder, files)
    found = digests_of([folder], folder.parent)
    assert {path: (digest.sha256, digest.size) for path, digest in found.items()} == {
        f"{folder.name}/{name}": (hashlib.sha256(content).hexdigest(), len(content))
        for name, content in files.items()
    }
    assert damaged(folder.parent, found) == {}


@given(files=FILES, data=st.data())
@settings(max_examples=100, deadline=None)
def test_whatever_changes_in_a_sealed_folder_it_is_broken(tmp_path_factory, files, data):
    folder = tmp_path_factory.mktemp("sealed") / "it"
    fill(folder, files)
    seal(folder, about="it")
    assert broken(folder) is None
    name = data.draw(st.sampled_from(sorted([*files, "complete.json"])))
    place, content = folder / name, (folder / name).read_bytes()
    change = data.draw(st.sampled_from(["flip", "cut", "longer", "gone", "link", "more"]))
    if change == "flip" and content:
        at = data.draw(st.integers(0, len(content) - 1))
        changed = bytearray(content)
        changed[at] ^= 1 << data.draw(st.integers(0, 7))
        place.write_bytes(changed)
        if name == "complete.json" and broken(folder) is None:
            # In what else was said, or between the words: the digests are those that they were.
            assert json.loads(changed)["files"] == json.loads(content)["files"]
            return
    elif change == "cut" and content:
        place.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        if name == "complete.json" and place.read_bytes().strip() == content.strip():
            return
    elif change == "longer" and name != "complete.json":
        place.write_bytes(content + b"\0")
    elif change == "gone":
        place.unlink()
    elif change == "link" and name != "complete.json":
        place.rename(folder.parent / "elsewhere")
        place.symlink_to(folder.parent / "elsewhere")
    else:
        (folder / "more").write_bytes(b"")
    assert broken(folder) is not None


def test_a_file_that_is_written_anew_is_read_anew(tmp_path):
    """Also one that has its old size and its old time."""
    file = tmp_path / "weights"
    file.write_bytes(b"a" * 100)
    long_ago = 10**18
    os.utime(file, ns=(long_ago, long_ago))
    for content in (b"b" * 100, b"c" * 100):
        before = digest_file(file)
        file.write_bytes(content)
        os.utime(file, ns=(long_ago, long_ago))
        assert digest_file(file) != before
        assert digest_file(file).sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(__file__)])
def test_what_is_no_plain_file_is_not_read(tmp_path, make):
    make(tmp_path / "it")
    with pytest.raises(OSError, match=r"plain file|symbolic links|a directory"):
        digest_file(tmp_path / "it")


PATHS = st.one_of(
    st.text(max_size=20),
    st.lists(st.sampled_from(["..", ".", "a", "", "b c", "...", "~"]), max_size=5).map("/".join),
)


@given(path=PATHS)
def test_no_path_leads_out(path):
    try:
        TypeAdapter(InsidePath).validate_python(path)
    except ValidationError:
        return
    joined = os.path.normpath(f"/run/folder/{path}")
    assert joined.startswith("/run/folder/") and joined == f"/run/folder/{path}"


@pytest.mark.parametrize("path", ["", ".", "..", "/etc/passwd", "a/../../b", "a//b", "./a", "a/", "a\0b"])
def test_paths_that_are_refused(path):
    with pytest.raises(ValidationError):
        TypeAdapter(InsidePath).validate_python(path)
