"""`prunekit predict`: texts from files, standard input and arguments, of any bytes; where its answers go."""

from __future__ import annotations

import gzip
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from calling import OFFLINE
from families import backbone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import prunekit as package
from prunekit.data import word_tokenizer
from prunekit.exits import MultiExitForSequenceClassification

WORDS = ["good film", "bad film", "the soup was cold", "café 🍲"]


def saved(folder, names):
    tokenizer = word_tokenizer(WORDS)
    torch.manual_seed(0)
    model = MultiExitForSequenceClassification.from_backbone(
        backbone("bert", vocab_size=len(tokenizer)), reads="mean", label_names=names
    )
    package.save(model.eval(), folder, tokenizer)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("model") / "m", ["neg", "pos"])


def answered(said):
    """The texts that were answered."""
    assert said.code == 0, said.err
    head, *lines = said.out.split("\n")[:-1]
    assert head == "label\tconfidence\texit_layer\ttext"
    return [tuple(line.split("\t")[3:]) for line in lines]


def refused(said, *parts):
    assert said.code == 2 and said.err.count("error: ") == 1 and "Traceback" not in said.err, said.err
    for part in parts:
        assert part in " ".join(said.err.split()), said.err


# Files


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet", ".CSV"])
def test_a_table_is_read_as_one(prunekit, model, tmp_path, suffix):
    import pandas

    frame = pandas.DataFrame({"id": [1, 2, 3], "text": WORDS[:3], "label": ["x", None, "y"]})
    path = tmp_path / f"data{suffix}"
    write = {
        ".tsv": lambda: frame.to_csv(path, sep="\t", index=False),
        ".json": lambda: frame.to_json(path, orient="records"),
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        ".parquet": lambda: frame.to_parquet(path),
    }
    write.get(suffix, lambda: frame.to_csv(path, index=False))()
    assert answered(prunekit("predict", model, "--file", path.name)) == [(text,) for text in WORDS[:3]]


def test_pairs_of_a_table(prunekit, model, tmp_path):
    rows = [{"premise": "good", "hypothesis": "bad\tfilm"}, {"premise": "soup", "hypothesis": "cold"}]
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    expected = [("good", "bad\\tfilm"), ("soup", "cold")]
    assert answered(prunekit("predict", model, "--pair", "--file", "pairs.json")) == expected
    assert answered(prunekit("predict", model, "--file", "pairs.json")) == expected
    (tmp_path / "one.csv").write_text("text\ngood\n")
    refused(prunekit("predict", model, "--pair", "--file", "one.csv"), "one.csv: pairs are asked for")


def test_columns_of_the_run(prunekit, finished, tmp_path):
    """Its recipe names them, also where its model's folder is given."""
    import shutil

    import yaml

    run = shutil.copytree(finished[0] / "runs" / "costeff", tmp_path / "run")
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["data"].update(task="mine", text="opinion", train_file="t.csv", test_file="t.csv")
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "data.csv").write_text("text,opinion\nwrong,the soup was good\n")
    for source in ("run", "run/model"):
        assert answered(prunekit("predict", source, "--file", "data.csv")) == [("the soup was good",)]
    (tmp_path / "data.csv").write_text("text\nwrong\n")
    refused(prunekit("predict", "run", "--file", "data.csv"), "cannot find column 'opinion'", "its columns")


def test_a_table_that_is_wrong(prunekit, model, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\ngood,1\n,0\n")
    refused(prunekit("predict", model, "--file", "a.csv"), "a.csv, line 3: column 'text' is empty")
    (tmp_path / "a.csv").write_text("words\ngood\n")
    refused(prunekit("predict", model, "--file", "a.csv"), "a.csv: cannot find the text", ".txt")
    (tmp_path / "a.csv").write_bytes(gzip.compress(b"text\ngood\n", mtime=0))
    refused(prunekit("predict", model, "--file", "a.csv"), "a.csv is a gzip archive")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_blank_lines_keep_their_numbers(prunekit, model, tmp_path, end):
    lines = ["", "good film", "  ", "", "bad film", "\t"]
    (tmp_path / "t.txt").write_bytes(("\ufeff" + end.join(lines) + end).encode())
    said = prunekit("predict", model, "--file", "t.txt")
    assert answered(said) == [("good film",), ("bad film",)]
    assert said.err.count("blank lines before the last text are left out: 3") == 1
    (tmp_path / "t.txt").write_bytes(f"good{end}bad{end}{end}  {end}".encode())
    said = prunekit("predict", model, "--file", "t.txt")
    assert answered(said) == [("good",), ("bad",)] and "blank" not in said.err
    (tmp_path / "t.txt").write_bytes(f"{end}a\tb{end}{end}only one{end}".encode())
    refused(prunekit("predict", model, "--pair", "--file", "t.txt"), "t.txt, line 4: expected two texts")


def test_files_without_texts_or_of_another_kind(prunekit, model, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    contents = {"none": b"", "blank": b"\n \n", "zip": b"PK\x03\x04 more", "wide": "good".encode("utf-16")}
    for name, content in {**contents, "latin": b"good\n\ncaf\xe9\n"}.items():
        (tmp_path / name).write_bytes(content)
    for name, words in {"none": "holds no texts", "blank": "holds no texts", "zip": "a zip archive",
                        "wide": "UTF-16", "latin": "line 3, byte 4 of the line is 0xe9", "pipe": "is a pipe",
                        "folder": "is a folder", "/dev/null": "is a device",
                        "missing": "does not exist"}.items():  # fmt: skip
        said = prunekit("predict", model, "--file", name)
        refused(said, words)
        assert said.out == ""


# Standard input and arguments


def given_bytes(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii"))


def test_standard_input_is_utf8_whatever_the_locale(prunekit, model, monkeypatch):
    given_bytes(monkeypatch, "\ufeffcafé 🍲\r\n\nbad film".encode())
    said = prunekit("predict", model)
    assert answered(said) == [("café 🍲",), ("bad film",)] and "left out: 1" in said.err
    given_bytes(monkeypatch, b"")
    assert answered(prunekit("predict", model)) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"good\n\n\xc3\xa9\xe9x\n", "standard input is not UTF-8 text: line 3, byte 3 of the line is 0xe9"),
        ("good\n".encode("utf-16"), "standard input is not UTF-8 text but UTF-16"),
        ("good\n".encode("utf-16-le"), "UTF-16"),
        (gzip.compress(b"good\n", mtime=0), "standard input is a gzip archive"),
        (b"\xed\xa0\xbd\n", "line 1, byte 1 of the line is 0xed"),
    ],
)
def test_standard_input_that_is_not_utf8(prunekit, model, monkeypatch, content, words):
    given_bytes(monkeypatch, content)
    refused(prunekit("predict", model), words)


def test_arguments_that_are_not_utf8(prunekit, model):
    said = prunekit("predict", model, "fine", os.fsdecode(b"caf\xe9"))
    refused(said, "argument 4, 'caf", "is not UTF-8: byte 4 is 0xe9")
    refused(prunekit("predict", model, "half \ud83d"), "argument 3", "half a character")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
)
def test_an_answer_is_one_line_of_four_or_five_columns(prunekit, model, first, second):
    first, second = f"good {first}", f"bad {second}"
    (one,) = answered(prunekit("predict", model, first))
    (two,) = answered(prunekit("predict", model, "--pair", first, second))
    assert len(one) == 1 and len(two) == 2 and two[0] == one[0]
    if first.isprintable():
        assert one == (first,)


def test_labels_with_control_characters(prunekit, tmp_path):
    folder = saved(tmp_path / "m", ["a\tb\x1b[2J", "c\nd"])
    said = prunekit("predict", folder, "good")
    assert len(answered(said)[0]) == 1
    assert said.out.splitlines()[1].split("\t")[0] in ("a\\tb\\x1b[2J", "c\\nd")


# The command in a process of its own: streams that are closed, or of another encoding


def shell(model, line, cwd, **env):
    """A line of shell in which ``PREDICT`` is the command on the model."""
    command = shlex.join([sys.executable, "-m", "prunekit", "predict", str(model)])
    return subprocess.run(
        ["bash", "-c", line.replace("PREDICT", command)],
        cwd=cwd, env={**os.environ, **OFFLINE, **env}, stdin=subprocess.DEVNULL, capture_output=True,
        timeout=240,
    )  # fmt: skip


def test_closed_streams(model, tmp_path):
    done = shell(model, "PREDICT <&-", tmp_path)
    assert done.returncode == 0 and done.stdout == b"label\tconfidence\texit_layer\ttext\n"
    for line in ("PREDICT good >&-", "PREDICT good 2>&-", "PREDICT good <&- >&- 2>&-"):
        done = shell(model, line, tmp_path)
        assert done.returncode == 0 and b"Traceback" not in done.stderr
        assert (b"good" in done.stdout) == (">&-" not in line.replace("2>&-", ""))


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONIOENCODING": "utf-16"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["cp1252", "utf-16", "C"],
)
def test_what_is_redirected_is_utf8(model, tmp_path, env):
    for line in ("PREDICT 'café 🍲 日本'", "printf 'café 🍲 日本' | PREDICT"):
        done = shell(model, line, tmp_path, **env)
        assert done.returncode == 0, done.stderr
        assert done.stdout.decode("utf-8").splitlines()[1].split("\t")[3] == "café 🍲 日本"


def test_a_reader_that_has_gone(model, tmp_path):
    (tmp_path / "t.txt").write_text("good film\n" * 3000)
    done = shell(model, "PREDICT --file t.txt | head -1; exit ${PIPESTATUS[0]}", tmp_path)
    assert done.returncode == 0 and done.stderr == b"" and len(done.stdout.splitlines()) == 1


def test_a_terminal_that_cannot_show_a_character(model, tmp_path):
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "prunekit", "predict", str(model), "café 🍲 [/] [red] good"],
        env={**os.environ, **OFFLINE, "PYTHONIOENCODING": "cp1252", "TERM": "xterm", "COLUMNS": "120"},
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(60) == 0, process.stderr.read()
    assert "café \\U0001f372 [/] [red] good" in shown.decode("cp1252")
    process.stderr.close()


# A model that numbers its classes in its own order


def test_a_checkpoint_keeps_the_order_of_its_classes(prunekit, tmp_path):
    """Also in what is computed later, when the checkpoint has another order, or is gone."""
    import shutil

    from transformers import BertConfig, BertForSequenceClassification

    from prunekit.stages.outputs import outputs_of

    tokenizer = word_tokenizer(["a good film", "a bad film"])
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=16, id2label={0: "pos", 1: "neg"}, label2id={"pos": 0, "neg": 1},
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    rows = [f"a {'good' if n % 2 else 'bad'} film {n},{'pos' if n % 2 else 'neg'}\n" for n in range(40)]
    Path("t.csv").write_text("text,label\n" + "".join(rows))
    said = prunekit(
        "apply", "costeff", "--name", "x", "model.name=base", "data.task=mine", "data.train_file=t.csv",
        "data.test_fraction=0.25", "data.train_size=null", "data.validation_size=null", "data.test_size=null",
        "stages=[finetune, evaluate]", "finetune.epochs=0.5", "training.threads=1", "compare=null",
    )  # fmt: skip
    assert said.code == 0 and "labels are numbered as the model numbers them: 'pos', 'neg'" in said.err, (
        said.err
    )
    run = Path("runs/x")
    assert json.loads((run / "model/config.json").read_text())["id2label"] == {"0": "pos", "1": "neg"}
    outputs = outputs_of(run, "test")
    shutil.rmtree(run / "outputs")
    shutil.rmtree("base")
    again = outputs_of(run, "test")
    assert again.labels.tolist() == outputs.labels.tolist()
    assert [text.split()[1] for text in again.texts] == [["good", "bad"][n] for n in again.labels]


def test_compared_checkpoints_that_number_the_same_labels_differently(prunekit, tmp_path):
    """Refused before anything is trained; a recipe that says in which order mends it."""
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = word_tokenizer(["a good film", "a bad film"])
    for name, names in (("one", {0: "pos", 1: "neg"}), ("two", {0: "neg", 1: "pos"})):
        config = BertConfig(
            vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=16, id2label=names, label2id={label: n for n, label in names.items()},
        )  # fmt: skip
        BertForSequenceClassification(config).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    rows = [f"a {'good' if n % 2 else 'bad'} film {n},{'pos' if n % 2 else 'neg'}\n" for n in range(40)]
    Path("t.csv").write_text("text,label\n" + "".join(rows))
    arguments = [
        "apply", "costeff", "--name", "x", "model.name=one", "data.task=mine", "data.train_file=t.csv",
        "data.test_fraction=0.25", "data.train_size=null", "data.validation_size=null", "data.test_size=null",
        "stages=[finetune, evaluate]", "finetune.epochs=0.5", "training.threads=1",
        "compare.systems={deebert: null, pabee: null, other: {model: {name: two}}}",
    ]  # fmt: skip
    said = prunekit(*arguments)
    refused(said, "number the labels of mine differently: one: pos, neg; two: neg, pos", "data.label_names")
    assert not list(Path("runs").glob("*/stages"))
    said = prunekit(*arguments, "data.label_names=[neg, pos]")
    assert said.code == 0, said.err
