"""Mutants of all that prunekit reads: each ends in a result or one message, and does nothing unasked for.

A short run belongs to the tests; ``make fuzz MUTANTS=10000`` runs as many, dealt out to the kinds.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from guard import call, contents, well_behaved
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from values import TEXTS, as_yaml, changed_bytes, changed_json, scalars, values

MUTANTS = int(os.environ.get("PRUNEKIT_MUTANTS", "120"))
# Of 100 mutants.
SHARES = {
    "recipes": 15,
    "overrides": 20,
    "parts": 15,
    "data": 15,
    "texts": 5,
    "models": 15,
    "bases": 5,
    "runs": 10,
}

RECIPE = """\
name: base
seed: 7
model:
  name: builtin:small-encoder
  config: {num_hidden_layers: 2, hidden_size: 16, num_attention_heads: 4, intermediate_size: 32}
data: {task: reviews, train_size: 48, validation_size: 30, test_size: 30}
exits: {reads: mean}
training: {precision: float32, batch_size: 16, checkpoint_seconds: 0, threads: 1}
finetune: {epochs: 1, learning_rate: 1.0e-3}
assistant: {epochs: 0.5, learning_rate: 1.0e-3}
slenderize: {heads: 2, neurons: 16, rank: 8, score_batches: 2, interval_epochs: 0.4, learning_rate: 1.0e-3}
recover: {features_epochs: 0.5, epochs: 0.5, features_learning_rate: 1.0e-3, learning_rate: 1.0e-3}
stages: [finetune, assistant, slenderize, recover, evaluate]
"""
COMPARE = """\
compare:
  systems:
    deebert: {extends: deebert-slender}
    mine: {label: Mine, grid: {recover.epochs: [1, 2]}}
  seeds: [7, 8]
"""
ROWS = [(f"{'good' if n % 2 else 'bad'} film number {n}", "pos" if n % 2 else "neg") for n in range(60)]
EVIL = "import pathlib\npathlib.Path({mark!r}).touch()\nraise RuntimeError('evil')\n"


def mutants(kind: str):
    """Settings of a kind: the same examples each time in the tests, others in a long run."""
    return settings(
        max_examples=max(1, MUTANTS * SHARES[kind] // 100),
        deadline=timedelta(seconds=90),
        derandomize=MUTANTS <= 1000,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=True,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a finished run, a model and a plain BERT; in it lies a module that must not run."""
    folder = tmp_path_factory.mktemp("fuzz")
    mark = folder / "was-run"
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "compared.yaml").write_text(RECIPE + COMPARE)
    said = call("apply", "recipe.yaml", "--name", "run", "--output", "runs", folder=folder)
    assert said.code == 0, said.err
    shutil.copytree(folder / "runs" / "run" / "model", folder / "model")
    _plain_bert(folder / "bert", folder / "model")
    (folder / "work").mkdir()
    (folder / "work" / "evil.py").write_text(EVIL.format(mark=str(mark)))
    yield folder
    assert not mark.exists(), "a module of the folder was run"
    assert "evil" not in sys.modules


@pytest.fixture(autouse=True)
def _settled(monkeypatch):
    """Names on the hub are answered at once."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def _plain_bert(folder: Path, tokenizer: Path) -> None:
    from transformers import AutoTokenizer, BertConfig, BertModel

    words = AutoTokenizer.from_pretrained(tokenizer)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=128, **sizes)).save_pretrained(folder)
    words.save_pretrained(folder)


def _fresh(home: Path) -> Path:
    """An empty working folder, but for the module that must not run."""
    work = home / "work"
    for entry in work.iterdir():
        if entry.name != "evil.py":
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    return work


def _reads_only(folder: Path, *arguments: object, stdin: bytes = b"") -> None:
    """A command that only reads leaves every file as it was."""
    before = contents(folder)
    said = call(*arguments, stdin=stdin, folder=folder)
    event(f"{arguments[0]}: exit code {said.code}")
    well_behaved(said, before=before, folder=folder)


# -- recipes


@mutants("recipes")
@given(data=st.data())
def test_recipes(home, data):
    work = _fresh(home)
    text = data.draw(st.sampled_from([RECIPE, RECIPE + COMPARE])).encode()
    if data.draw(st.booleans()):
        text = data.draw(changed_bytes(text))
    else:
        lines = text.decode().splitlines()
        at = data.draw(st.integers(0, len(lines) - 1))
        key, colon, _ = lines[at].partition(": ")
        line = f"{key}{colon}{as_yaml(data.draw(values))}"
        lines[at : at + data.draw(st.integers(0, 1))] = [line]
        text = "\n".join(lines).encode("utf-8", "replace")
    (work / "r.yaml").write_bytes(text)
    _reads_only(work, "plan", "r.yaml")


def _keys() -> list[str]:
    from prunekit.recipes import load_recipe
    from prunekit.recipes.differences import flat

    return sorted(flat(load_recipe("costeff").resolved()))


@mutants("overrides")
@given(data=st.data())
def test_overrides(home, data):
    work = _fresh(home)
    shutil.copy(home / "recipe.yaml", work)
    keys = [*_keys(), "model.config.hidden_act", "model.config.vocab_size", "finetune.uses", "extends", "x"]
    overrides = []
    for _ in range(data.draw(st.integers(1, 2))):
        key, value = data.draw(st.sampled_from(keys)), data.draw(values)
        overrides.append(f"{key}={data.draw(st.sampled_from([as_yaml(value), str(value)]))}")
    overrides = [text.encode("utf-8", "replace").decode().replace("\x00", "") for text in overrides]
    if any(text.startswith(("name=", "output=")) and "/" in text for text in overrides):
        return  # another folder is asked for
    _reads_only(work, "plan", "recipe.yaml", *overrides)


@mutants("parts")
@given(data=st.data())
def test_parts(home, data):
    import inspect

    from prunekit.budgets import registry as budgets
    from prunekit.distill.losses import registry as losses
    from prunekit.exits.heads import registry as heads
    from prunekit.exits.policies import registry as policies
    from prunekit.schedulers import registry as schedulers
    from prunekit.scorers import registry as scorers

    work = _fresh(home)
    shutil.copy(home / "recipe.yaml", work)
    none = ("slenderize.heads=null", "slenderize.neurons=null", "slenderize.rank=null")
    key, registry, others = data.draw(
        st.sampled_from(
            [
                ("slenderize.scorer", scorers, ()),
                ("slenderize.scheduler", schedulers, ()),
                ("slenderize.budget", budgets, none),
                ("recover.losses.0", losses, ("recover.losses=[truth]",)),
                ("evaluate.policies", policies, ()),
                ("exits.head", heads, ()),
            ]
        )
    )
    name = data.draw(
        st.sampled_from([*registry.names(), "boom:X", "json:JSONDecoder", "os:getcwd", "..", ":"])
    )
    if ":" not in name and name in registry.names():
        known = list(inspect.signature(registry.get(name)).parameters)
    else:
        known = []
    arguments = data.draw(st.dictionaries(st.sampled_from([*known, "x", "weight"]), values, max_size=2))
    spec = {"name": name, **arguments}
    whole = [spec] if key == "evaluate.policies" else name if key == "exits.head" else spec
    if key.endswith(".0"):
        key, others, whole = "recover.losses", (), [spec]
    _reads_only(work, "plan", "recipe.yaml", *others, f"{key}={as_yaml(whole)}")


# -- data


def _table(kind: str) -> bytes:
    import csv

    import pyarrow
    import pyarrow.parquet

    rows = [{"text": text, "label": label} for text, label in ROWS]
    if kind in ("csv", "tsv"):
        stream = io.StringIO()
        writer = csv.writer(stream, delimiter="," if kind == "csv" else "\t")
        writer.writerows([("text", "label"), *ROWS])
        return stream.getvalue().encode()
    if kind == "parquet":
        sink = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
        return sink.getvalue()
    return (json.dumps(rows) if kind == "json" else "".join(json.dumps(row) + "\n" for row in rows)).encode()


@mutants("data")
@given(data=st.data())
def test_data_files(home, data):
    work = _fresh(home)
    shutil.copy(home / "recipe.yaml", work)
    kind = data.draw(st.sampled_from(["csv", "tsv", "json", "jsonl", "parquet"]))
    table = _table(kind)
    if kind in ("json", "jsonl") and data.draw(st.booleans()):
        rows = data.draw(changed_json([{"text": text, "label": label} for text, label in ROWS[:30]]))
        lines = rows if isinstance(rows, list) else [rows]
        text = json.dumps(rows) if kind == "json" else "".join(json.dumps(row) + "\n" for row in lines)
        table = text.encode("utf-8", "replace")
    else:
        table = data.draw(changed_bytes(table))
    name = f"train.{data.draw(st.sampled_from([kind, kind, kind, 'csv', 'json', 'txt']))}"
    (work / name).write_bytes(table)
    (work / "test.csv").write_bytes(_table("csv"))
    if data.draw(st.booleans()):
        source = f"data={{task: custom, train_file: {name}, test_file: test.csv, validation_size: 10}}"
        _reads_only(work, "plan", "recipe.yaml", source)
    else:
        _reads_only(work, "predict", home / "model", "--file", name)


@mutants("texts")
@given(data=st.data())
def test_texts(home, data):
    work = _fresh(home)
    stdin = data.draw(
        st.binary(max_size=60) | st.lists(st.sampled_from(TEXTS)).map("\n".join).map(str.encode)
    )
    arguments = data.draw(
        st.lists(st.sampled_from([text for text in TEXTS if "\x00" not in text]), max_size=3)
    )
    options = data.draw(st.sampled_from([(), ("--pair",), ("--threshold", "0.3")]))
    texts = ["--", *arguments] if arguments else []
    _reads_only(work, "predict", home / "model", *options, *texts, stdin=stdin)


# -- models


def _mutated_folder(source: Path, target: Path, data: st.DataObject) -> None:
    shutil.copytree(source, target)
    file = data.draw(st.sampled_from(sorted(path for path in target.iterdir() if path.is_file())))
    what = data.draw(st.sampled_from(["json", "json", "json", "bytes", "gone", "empty", "link"]))
    if what == "json" and file.suffix == ".json":
        content = json.dumps(data.draw(changed_json(json.loads(file.read_text()))))
        file.write_bytes(content.encode("utf-8", "replace"))
    elif what in ("bytes", "json"):
        file.write_bytes(data.draw(changed_bytes(file.read_bytes())))
    elif what == "gone":
        file.unlink()
    elif what == "empty":
        file.write_bytes(b"")
    else:
        file.unlink()
        file.symlink_to(target / "nowhere")
    event(f"{file.name}: {what}")


@mutants("models")
@given(data=st.data())
def test_model_folders(home, data):
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = False  # a folder is read without the hub all the same
    work = _fresh(home)
    _mutated_folder(home / "model", work / "m", data)
    command = data.draw(
        st.sampled_from([("predict", "m", "a good film"), ("report", "m"), ("predict", "m", "x " * 300)])
    )
    _reads_only(work, *command)


@mutants("bases")
@given(data=st.data())
def test_models_to_start_from(home, data):
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = False
    work = _fresh(home)
    shutil.copy(home / "recipe.yaml", work)
    _mutated_folder(home / "bert", work / "b", data)
    command = data.draw(st.sampled_from([("plan", "recipe.yaml", "model={name: ./b}"), ("report", "./b")]))
    _reads_only(work, *command)


# -- runs


@mutants("runs")
@given(data=st.data())
def test_run_folders(home, data):
    work = _fresh(home)
    shutil.copy(home / "recipe.yaml", work)
    shutil.copytree(home / "runs", work / "runs")
    run = work / "runs" / "run"
    files = sorted(path for path in run.rglob("*") if path.is_file() and path.name != ".lock")
    small = [path for path in files if path.suffix in (".json", ".yaml", ".jsonl")]
    file = data.draw(st.sampled_from(small) | st.sampled_from(files))
    what = data.draw(st.sampled_from(["json", "bytes", "gone", "empty"]))
    if what == "json" and file.suffix == ".json":
        file.write_bytes(
            json.dumps(data.draw(changed_json(json.loads(file.read_text())))).encode("utf-8", "replace")
        )
    elif what == "gone":
        file.unlink()
    elif what == "empty":
        file.write_bytes(b"")
    else:
        file.write_bytes(data.draw(changed_bytes(file.read_bytes())))
    event(f"{file.name}: {what}")
    command = data.draw(st.sampled_from(["report", "predict", "calibrate", "apply", "compare"]))
    arguments = {
        "report": ["report", "runs/run"],
        "predict": ["predict", "runs/run", "a good film"],
        "calibrate": ["calibrate", "runs/run", "--max-drop", "20%"],
        "apply": ["apply", "recipe.yaml", "--name", "run", "--output", "runs"],
        "compare": ["compare", "runs/run"],
    }[command]
    said = call(*arguments, folder=work)
    event(f"{command}: exit code {said.code}")
    well_behaved(said, may_write=True)
    left = [
        path.name for path in work.rglob("*") if path.name.endswith((".tmp", ".partial", ".taken", ".begun"))
    ]
    assert left == []


@given(scalars)
@settings(max_examples=20, derandomize=True, database=None)
def test_the_guard_sees(tmp_path_factory, value):
    """A guard that sees nothing would let everything pass."""
    import socket

    import guard

    guard._watching.append([])
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", 9), timeout=0.2)
    seen = guard._watching.pop()
    assert any("connects" in line or "looks up" in line for line in seen)
    with pytest.raises(AssertionError):
        well_behaved(guard.Said(["x"], 1, "", f"error: {value!r}"))
