"""A run does not go on with other data or another model than it began with, and says what changed."""

import json
import shutil
from pathlib import Path

import pytest
from tiny import tiny_recipe

from prunekit import comparison
from prunekit.errors import RunError
from prunekit.runs import Run, data, recipe_of
from prunekit.stages.outputs import outputs_of

LABELS = {0: "neg", 1: "pos"}


def rows(count, seed=0):
    return [(f"a {'bad' if n % 2 else 'good'} film number {n * 7 + seed}", n % 2) for n in range(count)]


def write(file, examples, header="text,label", name=LABELS.get):
    file.write_text("\n".join([header, *(f"{text},{name(label)}" for text, label in examples)]) + "\n")


@pytest.fixture
def files(tmp_path, monkeypatch):
    """``train.csv`` and ``test.csv`` in the working folder, and the settings that name them."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "train.csv", rows(60))
    write(tmp_path / "test.csv", rows(20, 1))
    return {"task": "custom", "train_file": "train.csv", "test_file": "test.csv",
            "train_size": None, "validation_size": 10, "test_size": None}  # fmt: skip


def begun(tmp_path, again, stages=("finetune",), **changes):
    """A run that is done with some of its stages, and was stopped there."""
    again(tmp_path, **changes)
    folder = tmp_path / "tiny"
    (folder / "done.json").unlink()
    for stage in folder.glob("stages/*"):
        if stage.name[2:] not in stages:
            shutil.rmtree(stage)
    return folder


CHANGES = {
    "labels swapped": (lambda: write_file("train.csv", rows(60), name=lambda n: LABELS[1 - n]), "train.csv"),
    "one text": (lambda: write_file("train.csv", [*rows(59), ("another", 0)]), "train.csv"),
    "one more": (lambda: write_file("train.csv", rows(62)), "train.csv"),
    "another order": (lambda: write_file("train.csv", rows(60)[::-1]), "train.csv"),
    "names": (lambda: write_file("train.csv", rows(60), name={0: "no", 1: "pos"}.get), "label names"),
    "test": (lambda: write_file("test.csv", rows(20, 2)), "data.test_file test.csv: its test examples"),
}


def write_file(file, *arguments, **options):
    write(Path(file), *arguments, **options)


@pytest.mark.parametrize("change", CHANGES)
def test_changed_examples_are_refused_by_their_file(files, tmp_path, again, change):
    folder = begun(tmp_path, again, data=files)
    before = (folder / "data.json").read_bytes()
    make, words = CHANGES[change]
    make()
    if change == "names":
        write_file("test.csv", rows(20, 1), name={0: "no", 1: "pos"}.get)
    with pytest.raises(RunError, match="began with other data") as caught:
        again(tmp_path, data=files)
    assert words in caught.value.message
    assert "data.train_file" in caught.value.message or change == "test"
    assert "--fresh" in caught.value.mend and "--name OTHER" in caught.value.mend
    assert (folder / "data.json").read_bytes() == before
    assert not (folder / "stages" / "2-assistant").exists()
    # Brought back, it goes on.
    write_file("train.csv", rows(60))
    write_file("test.csv", rows(20, 1))
    assert again(tmp_path, data=files) == ["assistant", "evaluate"]


def test_what_does_not_change_the_examples_is_no_change(files, tmp_path, again):
    begun(tmp_path, again, data=files)
    lines = [f'{n},"{text}",{LABELS[label]}' for n, (text, label) in enumerate(rows(60))]
    (tmp_path / "train.csv").write_text("\n".join(["id,text,label", *lines]) + "\n\n")
    assert again(tmp_path, data=files) == ["assistant", "evaluate"]


def test_outputs_that_are_computed_again_need_the_same_examples(files, tmp_path, again):
    again(tmp_path, data=files)
    shutil.rmtree(tmp_path / "tiny" / "outputs")
    write_file("train.csv", rows(60)[::-1])
    assert len(outputs_of(tmp_path / "tiny", "test").labels) == 20  # not of this file
    with pytest.raises(RunError, match=r"data\.train_file train\.csv: its validation examples"):
        outputs_of(tmp_path / "tiny", "validation")
    write_file("test.csv", rows(20, 2))
    with pytest.raises(RunError, match=r"data\.test_file test\.csv: its test examples"):
        outputs_of(tmp_path / "tiny", "test")


@pytest.fixture
def start(short_run, tmp_path):
    """A model folder to begin with: a slender model of ours, with its tokenizer."""
    return shutil.copytree(short_run / "stages" / "1-finetune" / "model", tmp_path / "start")


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_changed_model_folder_is_refused_by_its_file(start, tmp_path, again, file):
    begin = {"model": {"name": str(start), "config": {}}}
    folder = begun(tmp_path, again, **begin)
    record = json.loads((folder / "data.json").read_text())["models"]["model.name"]
    assert file in record["files"]
    content = (start / file).read_bytes()
    if file.endswith(".json"):
        (start / file).write_bytes(content + b"\n")
    else:
        (start / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(RunError, match=rf"model\.name .*start: {file} is not what the run began with"):
        again(tmp_path, **begin)
    (start / file).write_bytes(content)
    (start / "README.md").write_text("this is not read")
    assert again(tmp_path, **begin) == ["assistant", "evaluate"]


def test_the_model_of_a_student_is_recorded_too(start, tmp_path):
    recipe = tiny_recipe(
        tmp_path, model={"name": str(start), "config": {}}, student={"name": str(start)},
        stages=["finetune", "student", "evaluate"],
    )  # fmt: skip
    from prunekit.data import encode, load_task
    from prunekit.models import load_tokenizer

    task = encode(load_task(recipe.data, recipe.seed), load_tokenizer(recipe.model), 128)
    record = data.data_record(recipe, task)
    assert record.models["student.name"].files == record.models["model.name"].files


@pytest.mark.parametrize("content", [b"{}", b"[]", b"{bad", b"\xff", b"null"])
def test_a_damaged_record_is_said_and_can_be_removed(run, again, content):
    (run / "done.json").unlink()
    shutil.rmtree(run / "stages" / "3-evaluate")
    for name in ("data.json", "computing.json"):
        before = (run / name).read_bytes()
        (run / name).write_bytes(content)
        with pytest.raises(RunError, match=rf"{name} is damaged") as caught:
            again()
        assert "remove it" in caught.value.mend
        (run / name).write_bytes(before)
    (run / "data.json").unlink()
    (run / "computing.json").unlink()
    assert again() == ["evaluate"]


# -- comparisons


def test_a_new_system_does_not_learn_from_other_data(files, tmp_path, again):
    """The run is finished, then its file changes, then a system is added."""
    again(tmp_path, data=files)
    hot = {"compare": {"systems": {"hot": {"assistant": {"temperature": 4}}}}}
    write_file("train.csv", rows(60)[::-1])
    with pytest.raises(RunError, match=r"compare/hot began with other data(.|\n)*train\.csv: its train"):
        again(tmp_path, data=files, **hot)
    write_file("train.csv", rows(60))
    assert again(tmp_path, data=files, **hot) == ["assistant", "evaluate"]
    records = [
        json.loads((f / "data.json").read_text()) for f in (tmp_path / "tiny", tmp_path / "tiny/compare/hot")
    ]
    assert records[0] == records[1]


def test_a_stage_of_a_run_with_other_data_is_not_taken_over(files, tmp_path, again):
    again(tmp_path / "one", data=files)
    write_file("train.csv", rows(60)[::-1])
    first = recipe_of(tmp_path / "one" / "tiny")
    second = first.model_copy(update={"output": str(tmp_path / "two")})
    with Run(second) as run:
        pool = comparison.Pool([second, first])
        assert data.data_of(run.folder) is None
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(comparison.Pool, "_give_data", lambda *_: None)
            data.settle_data(run.folder, second, encoded(second), write=True)
            assert pool.take_over(second, run) == []
    write_file("train.csv", rows(60))
    shutil.rmtree(tmp_path / "two")
    with Run(second) as run:
        assert pool.take_over(second, run) == ["finetune", "assistant"]


def encoded(recipe):
    from prunekit.data import encode, load_task
    from prunekit.models import load_tokenizer

    task = load_task(recipe.data, recipe.seed)
    return encode(task, load_tokenizer(recipe.model, task.train["text"]), recipe.training.max_length)


def test_a_damaged_stage_is_not_taken_over(run, tmp_path):
    recipe = recipe_of(run).model_copy(update={"output": str(tmp_path)})
    other = recipe.model_copy(update={"output": str(tmp_path / "other")})
    weights = run / "stages" / "1-finetune" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with Run(other) as held:
        assert comparison.Pool([recipe, other]).take_over(other, held) == []


def test_a_refused_recipe_that_is_mended_begins_with_its_own_data(tmp_path, again):
    recipe = tiny_recipe(tmp_path, stages=["finetune", "evaluate"])
    with Run(recipe) as run:
        data.settle_data(run.folder, recipe, encoded(recipe), write=True)
    assert again(tmp_path, seed=8) == ["finetune", "assistant", "evaluate"]


def test_data_are_alike_however_they_lie_in_the_memory():
    from datasets import Dataset, concatenate_datasets

    texts = [f"text {n} ä" for n in range(9)]
    whole = Dataset.from_dict({"text": texts, "label": list(range(9)), "ids": [[n] * n for n in range(9)]})
    parts = concatenate_datasets([whole.select(range(4)), whole.select(range(4, 9))])
    picked = whole.select([8, *range(8)]).select([*range(1, 9), 0])
    assert data._digest(whole) == data._digest(parts) == data._digest(picked)
    assert data._digest(whole) != data._digest(whole.select(range(8)))
    moved = Dataset.from_dict({"text": ["text 0 ätext", " 1 ä", *texts[2:]], "label": list(range(9)),
                               "ids": [[n] * n for n in range(9)]})  # fmt: skip
    assert data._digest(whole) != data._digest(moved)


def test_a_comparison_of_runs_with_other_examples_under_the_same_names_says_so(files, tmp_path, again):
    from prunekit.commands.compare import compare_sources
    from prunekit.reports import read_report

    again(tmp_path / "a", data=files, name="early")
    write_file("train.csv", rows(60)[::-1])
    again(tmp_path / "a", data=files, name="late")
    compare_sources(["a/early", "a/late"], output=tmp_path / "both")
    notes = read_report(tmp_path / "both").comparison.notes
    assert [note for note in notes if "late" in note and "had other examples (train, validation)" in note]
