"""Run folders: what is in them, who holds them, and what happens to one that is there."""

import json
import os
import shutil
import subprocess
import sys
import textwrap

import pytest

from prunekit import __version__
from prunekit.errors import RunError
from prunekit.recipes import load_recipe
from prunekit.runs import Run, is_done, mark_done


@pytest.fixture
def recipe(folder):
    return load_recipe("base.yaml")


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_a_new_run_says_what_made_it(recipe, folder):
    with Run(recipe, command="prunekit apply base.yaml") as run:
        assert run.folder == folder.relative_to(folder) / "runs" / "the-base"
        assert not run.resumed and not run.finished
        info = run.info()
    assert info["seed"] == 42 and info["command"] == "prunekit apply base.yaml"
    assert info["versions"]["prunekit"] == __version__ and "torch" in info["versions"]
    assert info["machine"]["cores"] == os.cpu_count() and info["machine"]["processor"]
    assert load_recipe("runs/the-base/recipe.yaml").resolved() == recipe.resolved()
    assert run.stage_folder(3, "slenderize").as_posix() == "runs/the-base/stages/3-slenderize"


def test_the_same_recipe_resumes_and_changes_nothing(recipe, folder):
    with Run(recipe) as run:
        (run.folder / "stages").mkdir()
        (run.folder / "stages" / "weights").write_bytes(b"precious")
    before = contents(run.folder)
    with Run(recipe) as again:
        assert again.resumed and not again.finished
    assert contents(run.folder) == before
    with Run(recipe) as third:
        third.finish(score=0.9)
        assert third.finished
    assert json.loads((run.folder / "done.json").read_text())["score"] == 0.9


def test_killed_before_it_is_described_it_goes_on(recipe, monkeypatch):
    """Whichever of its two files was the last one written."""
    from prunekit.runs import run as module

    for writer in ("write_text", "write_json"):
        whole = getattr(module, writer)

        def killed(path, *arguments, whole=whole):
            whole(path, *arguments)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(module, writer, killed)
            Run(recipe).__enter__()
        with Run(recipe) as run:
            assert run.info()["seed"] == 42
            assert load_recipe("runs/the-base/recipe.yaml").resolved() == recipe.resolved()
        shutil.rmtree(run.folder)


def test_what_a_killed_process_was_writing_is_cleared_away(recipe, folder):
    with Run(recipe) as run:
        (run.folder / "stages").mkdir()
    before = set(run.folder.iterdir())
    (run.folder / ".model.x1_abcde" / "new").mkdir(parents=True)
    (run.folder / ".model.x1_abcde" / "new" / "model.safetensors").write_bytes(b"half")
    (run.folder / ".run.json.x2_abcde.tmp").write_bytes(b"{")
    (run.folder / ".git").mkdir()  # somebody's own
    with Run(recipe) as again:
        assert again.resumed
        assert set(run.folder.iterdir()) == before | {run.folder / ".git"}
    # A folder that is no run keeps all it has.
    other = folder / "runs" / "mine"
    (other / ".model.x1_abcde").mkdir(parents=True)
    with pytest.raises(RunError, match="is there and is not a run"):
        Run(recipe.model_copy(update={"name": "mine"})).__enter__()
    assert (other / ".model.x1_abcde").is_dir()


def test_commands_that_compare_with_more_are_kept_in_order(recipe, folder):
    def asks(typed, systems):
        with Run(load_recipe("base.yaml", [f"compare.systems={systems}"]), command=typed) as run:
            (run.folder / "stages").mkdir(exist_ok=True)
        return run.info()["command"], run.info().get("later_commands", [])

    assert asks("one", "[deebert]") == ("one", [])
    assert asks("two", "[pabee]") == ("one", ["two"])
    assert asks("three", "[tinybert]") == ("one", ["two", "three"])
    assert asks("four", "[tinybert]") == ("one", ["two", "three"])  # nothing else than before
    # What is asked for again takes back what came behind it.
    assert asks("two", "[pabee]") == ("one", ["two"])
    assert asks("one", "[deebert]") == ("one", [])


def test_what_names_a_run_may_differ_and_what_decides_it_may_not(recipe, folder):
    with Run(recipe) as begun:
        (begun.folder / "stages").mkdir()
    renamed = load_recipe("base.yaml", ["description=other", "output=./runs"])
    with Run(renamed) as run:
        assert run.resumed
    before = contents(run.folder)
    other = load_recipe("base.yaml", ["slim.heads=6", "slim.layers=[1]", "stages=[warm, slim, slim]"])
    with pytest.raises(RunError) as caught, Run(other):
        pass
    assert "slim.heads: 4 there, 6 now" in caught.value.message
    assert "slim.layers: [1, 2] there, [1] now" in caught.value.message
    assert "stages: " in caught.value.message and "seed" not in caught.value.message
    assert "--name" in caught.value.mend and "--fresh" in caught.value.mend
    assert contents(run.folder) == before


def test_a_recipe_refused_before_its_first_stage_can_be_mended(recipe, folder):
    with Run(load_recipe("base.yaml", ["seed=1"])):
        pass
    with Run(recipe) as run:
        assert not run.resumed
        assert run.info()["seed"] == recipe.seed
        assert load_recipe("runs/the-base/recipe.yaml").resolved() == recipe.resolved()


def test_fresh_moves_the_old_run_aside_and_loses_nothing(recipe, folder):
    kept = []
    for _ in range(3):
        with Run(recipe, fresh=True) as run:
            assert not run.resumed
            (run.folder / "mark").write_text(str(len(kept)))
            kept.append(contents(run.folder))
    assert contents(folder / "runs" / "the-base.1") == kept[0]
    assert contents(folder / "runs" / "the-base.2") == kept[1]
    assert contents(folder / "runs" / "the-base") == kept[2]


def test_a_folder_that_is_no_run_is_left_alone(recipe, folder):
    (folder / "runs" / "the-base").mkdir(parents=True)
    (folder / "runs" / "the-base" / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="is there and is not a run"), Run(recipe):
        pass
    assert contents(folder / "runs" / "the-base") == {"thesis.tex": b"years of work"}


def test_a_run_that_was_killed_before_its_recipe_was_written_begins_anew(recipe, folder):
    (folder / "runs" / "the-base").mkdir(parents=True)
    (folder / "runs" / "the-base" / ".lock").touch()
    (folder / "runs" / "the-base" / ".recipe.yaml.x1.tmp").write_text("half")
    with Run(recipe) as run:
        assert not run.resumed
    (run.folder / "stages").mkdir()
    (run.folder / "run.json").unlink()
    with Run(recipe) as run:
        assert run.resumed and run.info()["seed"] == 42


HOLD = """
    import sys, time
    from pathlib import Path
    import fcntl
    lock = open(sys.argv[1], "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("fresh", [False, True])
def test_two_processes_cannot_have_one_run(recipe, folder, fresh):
    with Run(recipe) as run:
        (run.folder / "stages").mkdir()
    before = contents(run.folder)
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), str(run.folder / ".lock")], stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RunError, match="is being applied by another process"), Run(recipe, fresh=fresh):
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert contents(run.folder) == before
    # The lock of a killed process is gone with it.
    with Run(recipe) as again:
        assert again.resumed


def test_the_lock_ends_with_the_with_block_also_after_an_error(recipe, folder):
    with pytest.raises(RuntimeError), Run(recipe):
        raise RuntimeError
    with Run(recipe), pytest.raises(RunError, match="another process"), Run(recipe):
        pass


@pytest.mark.parametrize("output", ["/proc/runs", "/dev/null/runs"])
def test_an_output_folder_that_cannot_be_written(folder, output):
    recipe = load_recipe("base.yaml", [f"output={output}"])
    with pytest.raises(RunError, match="cannot write the run folder") as caught, Run(recipe):
        pass
    assert "--output" in caught.value.mend


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_read_only_output_folder(folder):
    (folder / "locked").mkdir(mode=0o555)
    recipe = load_recipe("base.yaml", ["output=locked"])
    with pytest.raises(RunError, match="Permission denied"), Run(recipe):
        pass


def test_other_processes_of_a_launch_do_not_write(recipe, folder, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with Run(recipe) as run:
        run.finish()
    assert not run.folder.exists()


def test_done_marks(folder):
    assert not is_done(folder)
    mark_done(folder, steps=3)
    assert is_done(folder)
