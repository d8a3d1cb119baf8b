"""Data files read back: what other writers wrote comes back, and line numbers are those counted here."""

from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import io
import json
import logging
import lzma
import os
import re
import socket
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from prunekit.data.sources import read_file, read_hub
from prunekit.errors import DataError

ROWS = "text,label\ngood,1\nbad,0\n"
many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refusal(path: Path | str) -> DataError:
    with pytest.raises(DataError) as caught:
        read_file(str(path), "data.train_file")
    assert caught.value.mend and "\n" not in caught.value.message
    return caught.value


def made(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def line_of(table: Any, row: int) -> int:
    return int(re.search(r"line (\d+)", table.locate(row))[1])  # type: ignore[index]


# What a file is


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("data.csv"), ROWS)
    return stream.getvalue()


def tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("data.csv")
        entry.size = len(ROWS)
        archive.addfile(entry, io.BytesIO(ROWS.encode()))
    return stream.getvalue()


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (zipped(), "zip"),
        (tarred(), "tar"),
        (gzip.compress(ROWS.encode(), mtime=0), "gzip"),
        (bz2.compress(ROWS.encode()), "bzip2"),
        (bz2.compress(b""), "bzip2"),
        (lzma.compress(ROWS.encode()), "xz"),
        (b"\x28\xb5\x2f\xfd\x04\x00", "zstd"),
    ],
)
def test_an_archive_under_the_name_of_a_data_file(
    tmp_path: Path, suffix: str, content: bytes, kind: str
) -> None:
    error = refusal(made(tmp_path / f"data{suffix}", content))
    assert f"data{suffix} is a" in error.message and kind in error.message and "archive" in error.message


def test_a_text_that_begins_like_an_archive(tmp_path: Path) -> None:
    assert read_file(str(made(tmp_path / "a.csv", "BZh,label\nPK,1\n")), "k").columns["BZh"] == ["PK"]


def test_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.csv")
    Path("folder.csv").mkdir()
    Path("loop.csv").symlink_to("loop.csv")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket.csv")
        assert "socket.csv is a socket" in refusal("socket.csv").message
    assert "pipe.csv is a pipe: examples are read more than once" in refusal("pipe.csv").message
    assert "folder.csv is a folder" in refusal("folder.csv").message
    assert "/dev/null is a device" in refusal("/dev/null").message
    assert "loop.csv cannot be read: " in refusal("loop.csv").message
    for name in ("\0.csv", "\ud800.csv"):
        assert "cannot be the path of a file" in refusal(name).message
    assert "cannot be read: File name too long" in refusal("x" * 400 + ".csv").message


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("locked", ["file", "folder"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_that_may_not_be_read(tmp_path: Path, locked: str, suffix: str) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    path = made(folder / f"data{suffix}", ROWS)
    (path if locked == "file" else folder).chmod(0)
    try:
        with as_nobody():
            message = refusal(path).message
    finally:
        folder.chmod(0o700)
    assert message.endswith(f"data{suffix} cannot be read: Permission denied")


# UTF-8


@many
@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=6), max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=6),
    st.booleans(),
    st.sampled_from([".csv", ".tsv", ".json", ".jsonl"]),
)
def test_a_byte_that_is_not_utf8_has_a_place(
    tmp_path: Path, lines: list[str], end: str, start: str, mark: bool, suffix: str
) -> None:
    # "x" keeps what is before it from being looked at as UTF-16.
    before = "".join("xx" + line + end for line in lines).encode()
    content = (b"\xef\xbb\xbf" if mark else b"") + before + b"xx" + start.encode() + b"\xff more\n"
    message = refusal(made(tmp_path / f"data{suffix}", content)).message
    place = f"line {len(lines) + 1}, byte {2 + len(start.encode()) + 1} of the line is 0xff"
    assert message.endswith(f"data{suffix} is not UTF-8 text: {place}")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_utf16(tmp_path: Path, encoding: str, suffix: str) -> None:
    error = refusal(made(tmp_path / f"data{suffix}", ROWS.encode(encoding)))
    assert "not UTF-8 text but UTF-16" in error.message and "iconv" in str(error.mend)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl"])
def test_a_byte_order_mark_is_dropped(tmp_path: Path, suffix: str) -> None:
    content = {".csv": ROWS, ".tsv": ROWS.replace(",", "\t"), ".json": '[{"text": "good"}]'}.get(suffix)
    path = made(tmp_path / f"data{suffix}", "\ufeff" + (content or '{"text": "good"}\n'))
    assert read_file(str(path), "k").columns["text"][0] == "good"


def test_a_nul_character(tmp_path: Path) -> None:
    assert "line 3 holds a NUL" in refusal(made(tmp_path / "a.csv", "text,label\na,1\nb\0,1\n")).message


# csv and tsv

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
tables = st.lists(st.tuples(words, words, st.sampled_from(["0", "1"])), min_size=1, max_size=6)


@many
@given(
    tables,
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from([".csv", ".tsv"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(0, 2),
)
def test_what_a_csv_writer_wrote(
    tmp_path: Path,
    rows: list[tuple[str, ...]],
    separator: str,
    suffix: str,
    quoting: Any,
    end: str,
    blank: int,
) -> None:
    """Rows and places, whatever separates and quotes."""
    if quoting == csv.QUOTE_MINIMAL:
        # Older writers quote no line end but their own.
        rows = [tuple(re.sub("\r\n|\r|\n", end, value) for value in row) for row in rows]
        # By chance the parts of such a row may have the header's width: see the test of pandas' files.
        inside = ["".join(row) for row in rows]
        assume(not any(suffix == ".tsv" and separator == "\t" in row and end in row for row in inside))
    stream, begins = io.StringIO(newline=""), []
    writer = csv.writer(stream, delimiter=separator, quoting=quoting, lineterminator=end)
    for row in [("text", "text_pair", "label"), *rows]:
        # "\r\n" is one line end, also in a text.
        begins.append(len(re.findall("\r\n|\r|\n", stream.getvalue())) + 1)
        writer.writerow(row)
        stream.write(end * blank)
    table = read_file(str(made(tmp_path / f"data{suffix}", stream.getvalue())), "k")
    assert [tuple(row) for row in zip(*table.columns.values(), strict=True)] == rows
    assert [line_of(table, row) for row in range(len(rows))] == begins[1:]


# Python's csv writer leaves \r alone, and so does pandas: what reads it back sees a line end.
written_alone = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12).filter(
    str.strip
)


@many
@given(
    st.lists(written_alone | st.sampled_from(['he said "no"', '"', "a\nb", "a\tb", "a\tb\nc"]), min_size=1)
)
def test_a_tsv_that_pandas_wrote(tmp_path: Path, caplog: pytest.LogCaptureFixture, texts: list[str]) -> None:
    """It comes back, or what is kept of its quotation marks is said."""
    caplog.clear()
    frame = pandas.DataFrame({"text": texts, "label": ["x"] * len(texts)})
    frame.to_csv(tmp_path / "data.tsv", sep="\t", index=False)
    with caplog.at_level(logging.WARNING):
        found = read_file(str(tmp_path / "data.tsv"), "k").columns["text"]
    if found != texts:
        assert "kept as they are" in caplog.text
        # Only where tabs and line breaks inside of texts make rows of the right width by chance.
        assert any("\t" in text and "\n" in text for text in texts)
    frame.to_csv(tmp_path / "data.csv", sep="\t", index=False)
    assert read_file(str(tmp_path / "data.csv"), "k").columns["text"] == texts


plain = st.text(st.characters(codec="utf-8", exclude_characters="\0\t\r\n"), max_size=12)


@many
@given(st.lists(plain | st.sampled_from(['"', '"a', 'b"', '"c"', '""d""', "''"]), min_size=1, max_size=6))
def test_a_tsv_without_quoting(tmp_path: Path, texts: list[str]) -> None:
    """As GLUE has them: one quotation mark that csv would have doubled, and all are characters."""
    texts = [*texts, 'a 5" screen']
    lines = ["text\tlabel", *(f"{text}\tx" for text in texts)]
    table = read_file(str(made(tmp_path / "data.tsv", "\n".join(lines))), "k")
    assert table.columns["text"] == texts
    assert [line_of(table, row) for row in range(len(texts))] == list(range(2, len(texts) + 2))


def test_two_quotation_marks_on_two_lines_are_not_one_value(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = made(tmp_path / "data.tsv", 'text\tlabel\n"To be\t1\nnot to be"\t0\n')
    with caplog.at_level(logging.WARNING):
        assert read_file(str(path), "k").columns["text"] == ['"To be', 'not to be"']
    assert "kept as they are" in caplog.text


def test_half_quoted_values_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = made(tmp_path / "data.tsv", 'text\tlabel\na 5" screen\t1\n"he said ""no"""\t0\n')
    with caplog.at_level(logging.WARNING):
        assert read_file(str(path), "k").columns["text"][1] == '"he said ""no"""'
    assert "first on line 3" in caplog.text and "kept as they are" in caplog.text


def test_a_quoted_header_binds(tmp_path: Path) -> None:
    path = made(tmp_path / "data.tsv", '"text"\t"label"\n"a"\t"1"\n"b \\"c\\""\t"0"\n')
    assert "line 3 has a quotation mark" in refusal(path).message


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_another_separator_is_said_once(
    tmp_path: Path, separator: str, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = made(tmp_path / f"data{suffix}", ROWS.replace(",", separator))
    with caplog.at_level(logging.WARNING):
        assert read_file(str(path), "k").columns["text"] == ["good", "bad"]
    expected = separator == {".csv": ",", ".tsv": "\t"}[suffix]
    assert len(caplog.records) == (0 if expected else 1)
    assert expected or "separated by" in caplog.text


@pytest.mark.parametrize("values", ["b", "b,c,1", "b;1"])
def test_a_row_of_another_width(tmp_path: Path, values: str) -> None:
    count = values.count(",") + 1
    message = refusal(made(tmp_path / "a.csv", f"text,label\n\na,1\n{values}\n")).message
    assert f"line 4 has {count} value{'s' * (count != 1)} where the header has 2 columns" in message


def test_texts_of_any_length(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    long = "word " * 40_000
    for rows in ([long, "a"], ["a", long]):
        path = made(tmp_path / "a.csv", "text,label\n" + "".join(f'"{text}",1\n' for text in rows))
        assert read_file(str(path), "k").columns["text"] == rows
    assert csv.field_size_limit() == before


# json

values = st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=8)
objects = st.lists(st.dictionaries(st.sampled_from(["text", "label", "é"]), values), min_size=1, max_size=6)


@many
@given(objects, st.booleans(), st.sampled_from([None, 2]), st.booleans(), st.integers(0, 2))
def test_json_of_any_layout(
    tmp_path: Path, rows: list[dict[str, Any]], array: bool, indent: int | None, ascii_only: bool, blank: int
) -> None:
    begins, written = [], "[\n" if array else ""
    for number, row in enumerate(rows):
        written += "\n" * blank
        begins.append(written.count("\n") + 1)
        written += json.dumps(row, indent=indent if array else None, ensure_ascii=ascii_only)
        written += ",\n" if array and number + 1 < len(rows) else "\n"
    path = made(tmp_path / "data.json", written + ("]" if array else ""))
    table = read_file(str(path), "k")
    assert len(table) == len(rows)
    assert {name: table.columns[name] for name in table.columns} == {
        name: [row.get(name) for row in rows] for row in rows for name in row
    }
    assert [line_of(table, row) for row in range(len(rows))] == begins


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ('{"text": "a", "text": "b"}', "the key 'text' is there twice"),
        ('{"text": {"a": 1, "a": 2}}', "the key 'a' is there twice"),
        ('["a", 1]', "the row is an array, not an object"),
        ("7", "a number, not an object"),
        ("null", "null, not an object"),
        ('"a"', "a text, not an object"),
        ('{"label": ' + "9" * 5000 + "}", "thousands of digits"),
        ('{"text": ' + "[" * 100_000, "nested too deeply"),
        ('{"text": ' + '{"a":' * 100_000, "nested too deeply"),
        ('{"text": "a"', "is not a readable"),
        ("{'text': 'a'}", "is not a readable"),
    ],
    ids=range(11),
)
def test_rows_that_are_no_objects(tmp_path: Path, second: str, words: str) -> None:
    first = '{"text": "fine", "label": 0}'
    for name, content in (("a.jsonl", f"{first}\n{second}\n"), ("a.json", f"[{first},\n{second}\n]")):
        message = refusal(made(tmp_path / name, content)).message
        assert words in message and ("line 2," in message or (name == "a.json" and "line 3," in message))


def test_many_different_keys_take_no_more_room(tmp_path: Path) -> None:
    rows = [{f"key {n}": n, "text": "a"} for n in range(5_000)]
    path = made(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert read_file(str(path), "k").columns["text"] == ["a"] * 5_000


# parquet and the hub


def parquet(path: Path, columns: dict[str, Any], features: Any = None) -> str:
    table = pyarrow.table(columns)
    if features is not None:
        written = features if isinstance(features, bytes) else json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({b"huggingface": written})
    pyarrow.parquet.write_table(table, path)
    return str(path)


@many
@given(
    st.lists(st.tuples(st.none() | st.text(st.characters(codec="utf-8")), st.integers(-9, 9)), min_size=1),
    st.sampled_from(["string", "large_string", "dictionary"]),
)
def test_parquet_columns(tmp_path: Path, rows: list[tuple[str | None, int]], kind: str) -> None:
    texts, numbers = (list(column) for column in zip(*rows, strict=True))
    written = pyarrow.array(texts, pyarrow.large_string() if kind == "large_string" else pyarrow.string())
    if kind == "dictionary":
        written = written.dictionary_encode()
    table = read_file(parquet(tmp_path / "a.parquet", {"text": written, "a.b": numbers}), "k")
    assert dict(table.columns) == {"text": texts, "a.b": numbers}


def test_other_columns_of_a_parquet_file_are_left_alone(tmp_path: Path) -> None:
    link = {"bytes": None, "path": "hf://datasets/nobody/nothing/x.png"}
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = {"text": ["a", "b"], "picture": pyarrow.array([link] * 2, kind), "raw": [b"x", b"y"]}
    table = read_file(parquet(tmp_path / "a.parquet", columns, {"picture": {"_type": "Image"}}), "k")
    assert table.columns["text"] == ["a", "b"]
    for name in ("picture", "raw"):
        with pytest.raises(DataError, match=f"column '{name}' is of the type"):
            table.columns[name]


@pytest.mark.parametrize(
    "features",
    [b"{", b"[]", b"\xff", b"[" * 100_000, {"label": 5}, {"label": {"_type": "ClassLabel", "names": [1, 2]}},
     {"label": {"_type": "ClassLabel", "names": ["a", "a"]}},
     {"label": {"_type": "ClassLabel", "names": "ab"}},
     {"else": {"_type": "ClassLabel", "names": ["a", "b"]}}],
    ids=range(9),
)  # fmt: skip
def test_what_a_parquet_file_says_of_classes_is_checked(tmp_path: Path, features: Any) -> None:
    table = read_file(parquet(tmp_path / "a.parquet", {"text": ["a"], "label": [0]}, features), "k")
    assert (table.columns["label"], table.class_names) == ([0], {})


def test_class_names_of_a_parquet_file(tmp_path: Path) -> None:
    features = {"label": {"_type": "ClassLabel", "names": ["no", "yes"]}}
    table = read_file(parquet(tmp_path / "a.parquet", {"text": ["a"], "label": [0]}, features), "k")
    assert table.class_names == {"label": ["no", "yes"]}


def test_a_text_in_parquet_that_is_not_utf8(tmp_path: Path) -> None:
    raw = pyarrow.array([b"fine", b"caf\xe9"])
    texts = pyarrow.Array.from_buffers(pyarrow.string(), 2, raw.buffers())
    table = read_file(parquet(tmp_path / "a.parquet", {"text": texts, "label": [0, 1]}), "k")
    assert table.columns["label"] == [0, 1]
    with pytest.raises(DataError, match="row 2: column 'text' is not UTF-8 text: byte 4 is 0xe9"):
        table.columns["text"]


def test_a_parquet_file_under_another_name(tmp_path: Path) -> None:
    parquet(tmp_path / "a.csv", {"text": ["a"]})
    assert "is a parquet file under another name" in refusal(tmp_path / "a.csv").message


def test_pictures_of_the_hub_are_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    features = datasets.Features(text=datasets.Value("string"), picture=datasets.Image())
    links = [{"bytes": None, "path": "/nowhere/x.png"}] * 2
    part = datasets.Dataset.from_dict({"text": ["a", "b"], "picture": links}, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: datasets.DatasetDict(train=part))
    assert read_hub("some/set", None, {"train": "train"})["train"].columns["text"] == ["a", "b"]


def test_a_folder_is_not_taken_for_a_dataset_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("imdb").mkdir()
    with pytest.raises(DataError, match="this is a path here"):
        read_hub("imdb", None, {"train": "train"})
