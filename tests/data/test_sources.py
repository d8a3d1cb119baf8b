"""Files in, tables out; and one clear message for each thing that can be wrong with a file."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prunekit.data.sources import read_file, read_hub
from prunekit.errors import DataError

ROWS = [
    {"text": 'He said "no', "label": "yes"},
    {"text": "null", "label": "no"},
    {"text": "a, b and c", "label": "yes"},
    {"text": "12", "label": "no"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    names = list(rows[0])
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, names)
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".tsv":
        lines = ["\t".join(names), *("\t".join(str(row[name]) for name in names) for row in rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        import datasets

        datasets.Dataset.from_list(rows).to_parquet(str(path))
    return str(path)


def refuse(path: Path | str, *words: str) -> DataError:
    with pytest.raises(DataError) as caught:
        read_file(str(path), "data.train_file")
    for word in words:
        assert word in str(caught.value)
    assert caught.value.mend
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    table = read_file(write(tmp_path / f"data{suffix}", ROWS), "data.train_file")
    assert table.columns == {name: [row[name] for row in ROWS] for name in ("text", "label")}
    # nothing is written beside the data
    assert [file.name for file in tmp_path.iterdir()] == [f"data{suffix}"]


@pytest.mark.parametrize("name", ["a b.csv", "x[1].csv", "*.csv", ".hidden.csv", "é?.csv"])
def test_odd_file_names(tmp_path: Path, name: str) -> None:
    write(tmp_path / "other.csv", ROWS[:1])
    assert len(read_file(write(tmp_path / name, ROWS), "data.train_file")) == len(ROWS)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    assert len(read_file(write(path, ROWS), "data.train_file")) == 4
    stamp = path.stat()
    write(path, [*ROWS[:3], {"text": "34", "label": "no"}])
    os.utime(path, (stamp.st_atime, stamp.st_mtime))
    assert read_file(str(path), "data.train_file").columns["text"][3] == "34"


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_places_are_lines_of_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    write(path, [{"text": f"word {n}", "label": "a"} for n in range(20)])
    lines = path.read_text().splitlines()
    lines.insert(5, "")
    path.write_text("\n".join(lines) + "\n\n")
    table = read_file(str(path), "data.train_file")
    lines = path.read_text().splitlines()
    for row, text in enumerate(table.columns["text"]):
        line = int(table.locate(row).rsplit(" ", 1)[1])
        assert text in lines[line - 1]


def test_place_after_a_quoted_line_break(tmp_path: Path) -> None:
    path = write(tmp_path / "data.csv", [{"text": "one\ntwo", "label": "a"}, {"text": "three", "label": "b"}])
    table = read_file(path, "data.train_file")
    assert table.columns["text"] == ["one\ntwo", "three"]
    assert table.locate(0).endswith("line 2")
    assert table.locate(1).endswith("line 4")


def test_place_without_lines_is_a_row(tmp_path: Path) -> None:
    for suffix in (".json", ".parquet"):
        assert read_file(write(tmp_path / f"data{suffix}", ROWS), "k").locate(2).endswith("row 3")


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes("\ufefftext,label\r\ncafé,a\r\nthé,b\r\n".encode())
    assert read_file(str(path), "k").columns == {"text": ["café", "thé"], "label": ["a", "b"]}


def test_numbers_first_words_later(tmp_path: Path) -> None:
    """Column types are not guessed from the first rows."""
    rows = [{"text": str(n), "label": "1"} for n in range(12_000)] + [{"text": "word", "label": "x"}]
    table = read_file(write(tmp_path / "data.csv", rows), "k")
    assert table.columns["text"][-1] == "word"
    assert table.columns["text"][0] == "0"


def test_missing_file_and_folder(tmp_path: Path) -> None:
    refuse(tmp_path / "none.csv", "data.train_file", "none.csv", "does not exist")
    refuse(tmp_path, "is a folder")


def test_unknown_extension(tmp_path: Path) -> None:
    path = tmp_path / "data.xlsx"
    path.write_text("x")
    refuse(path, "'.xlsx'", ".parquet")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize("content", ["", "\n \n"])
def test_empty_file(tmp_path: Path, suffix: str, content: str) -> None:
    path = tmp_path / f"data{suffix}"
    path.write_text(content)
    if suffix == ".parquet" and content:
        refuse(path, "not a readable parquet file")
    else:
        refuse(path, str(path), "is empty")


@pytest.mark.parametrize(("suffix", "content"), [(".csv", "text,label\n"), (".json", "[]"), (".tsv", "a\tb")])
def test_header_only(tmp_path: Path, suffix: str, content: str) -> None:
    path = tmp_path / f"data{suffix}"
    path.write_text(content)
    refuse(path, str(path), "no examples")


def test_parquet_without_rows(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "data.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), path)
    refuse(path, "no examples")


def test_open_quotation(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('text,label\n"never closed,1\nd,2\n')
    refuse(path, str(path), "not a readable csv file", "quotation")


@pytest.mark.parametrize("lines", [["a,1", "b,2,3"], ["a,1,5", "b,2,3"]])
def test_too_many_values(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "data.csv"
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    refuse(path, str(path), "line 3" if lines[0] == "a,1" else "line 2")


def test_repeated_column(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label,text\na,1,b\n")
    refuse(path, "line 1", "'text' more than once")


def test_column_without_a_name(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(",text,label\n0,a,1\n1,b,0\n")
    columns = read_file(str(path), "k").columns
    assert columns["text"] == ["a", "b"]
    assert columns["label"] == ["1", "0"]


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(b"text,label\ncaf\xe9,1\n")
    refuse(path, "not UTF-8")


def test_broken_json(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "a", "label": 1}\n{"text": "b", "label":\n')
    refuse(path, f"{path}, line 2,", "not a readable jsonl file")
    array = tmp_path / "data.json"
    array.write_text('[{"text": "a", "label": 1}, {"text"')
    refuse(array, "not a readable json file")


def test_truncated_parquet(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "data.parquet", ROWS))
    path.write_bytes(path.read_bytes()[:-20])
    refuse(path, str(path), "not a readable parquet file")


def test_hub_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError) as caught:
        read_hub("nobody/nothing-of-this-name", None, {"train": "train"})
    assert "no network for hub dataset 'nobody/nothing-of-this-name'" in caught.value.message
    assert "data.train_file=" in (caught.value.mend or "")


def test_hub_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's own answer is replaced here: tests use no network."""
    import datasets

    features = datasets.Features(
        text=datasets.Value("string"), label=datasets.ClassLabel(names=["no", "yes"])
    )
    part = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: datasets.DatasetDict(train=part, dev=part))
    tables = read_hub(
        "some/thing", None, {"train": "train", "validation": "validation", "test": "dev"}, {"validation"}
    )
    assert set(tables) == {"train", "test"}
    assert tables["train"].class_names == {"label": ["no", "yes"]}
    with pytest.raises(DataError, match="no split 'test' for test; it has train, dev") as caught:
        read_hub("some/thing", None, {"train": "train", "test": "test"})
    assert "data.hub_splits.test" in (caught.value.mend or "")


printable = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=20
).filter(lambda text: text.strip())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(printable, min_size=1, max_size=8), st.sampled_from([".csv", ".jsonl", ".parquet"]))
def test_any_text_comes_back(tmp_path: Path, texts: list[str], suffix: str) -> None:
    rows = [{"text": text, "label": "x"} for text in texts]
    assert read_file(write(tmp_path / f"any{suffix}", rows), "k").columns["text"] == texts
