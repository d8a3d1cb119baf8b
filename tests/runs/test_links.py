"""A symbolic link in a run folder never has anything written, cut off or removed where it leads."""

import shutil

import pytest
from tiny import tiny_recipe

from prunekit.errors import RunError
from prunekit.files import locked, open_in_place, remove_leftovers
from prunekit.runs import Run


def picture(folder):
    return {
        str(f.relative_to(folder)): f.read_bytes() if f.is_file() else None for f in sorted(folder.rglob("*"))
    }


@pytest.fixture
def precious(tmp_path):
    """A folder of somebody's, which looks like parts of a run."""
    folder = tmp_path / "precious"
    for name in ("thesis.txt", "config.json", ".report.json.abcdefgh.tmp", "work/x", "parts/.step-001/y"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("years of work")
    return folder


@pytest.mark.parametrize(
    "name", [".lock", "recipe.yaml", "run.json", "data.json", "computing.json", "metrics.jsonl", "done.json"]
)
def test_a_link_in_the_place_of_a_file(run, again, precious, name):
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(precious / "thesis.txt")
    before = picture(precious)
    with pytest.raises(RunError, match=rf"{name} is a symbolic link") as caught:
        again()
    assert "remove the link" in caught.value.mend
    assert picture(precious) == before


@pytest.mark.parametrize(
    "name",
    ["stages", "stages/2-assistant", "stages/2-assistant/model", "model", "report", "outputs", "cache"],
)
def test_a_link_in_the_place_of_a_folder(run, again, precious, name):
    shutil.rmtree(run / name, ignore_errors=True)
    (run / name).symlink_to(precious, target_is_directory=True)
    (run / "done.json").unlink()
    before = picture(precious)
    with pytest.raises(RunError, match=rf"{name} is a symbolic link"):
        again()
    assert picture(precious) == before


def test_a_link_that_leads_nowhere_is_refused_too(run, again, tmp_path):
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").symlink_to(tmp_path / "new")
    with pytest.raises(RunError, match="is a symbolic link"):
        again()
    assert not (tmp_path / "new").exists()


def test_the_run_folder_itself_and_somebodys_own_may_be_links(run, again, tmp_path):
    run.rename(tmp_path / "elsewhere")
    run.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (run / "notes").symlink_to(tmp_path)
    assert again() == []


def test_a_lock_in_a_folder_that_is_no_run(tmp_path, precious):
    recipe = tiny_recipe(tmp_path)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / ".lock").symlink_to(precious / "thesis.txt")
    with pytest.raises(RunError, match="is a symbolic link"), Run(recipe):
        pass
    assert (precious / "thesis.txt").read_text() == "years of work"


def test_locking_and_appending_keep_what_is_there(tmp_path):
    file = tmp_path / "file"
    file.write_text("before")
    with locked(file) as held:
        assert held
    with open_in_place(file, "ab+") as stream:
        stream.write(b" and after")
    assert file.read_text() == "before and after"
    (tmp_path / "link").symlink_to(file)
    for use in (
        lambda: open_in_place(tmp_path / "link", "ab+"),
        lambda: locked(tmp_path / "link").__enter__(),
    ):
        with pytest.raises(RunError, match="is a symbolic link"):
            use()


def test_only_what_our_writers_leave_is_removed(tmp_path, precious):
    ours = [".report.json.a_3bcdef.tmp", ".model.x1_abcde/new/config.json", ".model.aaaaaaaa/old/weights"]
    theirs = [
        ".report.json.tmp", ".report.json.abc.tmp", ".report.json.ABCDEFGH.tmp", ".thesis.abcdefgh.tmp",
        "report.json.abcdefgh.tmp", ".model.backup01/config.json", ".git/new/x", ".models.abcdefgh/new/x",
        ".report.json.abcdefgh", ".model.abcdefgh.tmp",
    ]  # fmt: skip
    folder = tmp_path / "folder"
    for name in (*ours, *theirs):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / ".report.json.linkling.tmp").symlink_to(precious / "thesis.txt")
    (folder / ".model.linkling").symlink_to(precious, target_is_directory=True)
    before = picture(precious)
    remove_leftovers(folder, ["report.json"], ["model"])
    left = {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file() and not f.is_symlink()}
    assert left == set(theirs)
    assert (folder / ".report.json.linkling.tmp").is_symlink() and picture(precious) == before


def test_leftovers_are_cleared_in_every_folder_of_a_run(run, again):
    before = {str(f.relative_to(run)) for f in run.rglob("*")}
    for name in (
        ".run.json.abcdefgh.tmp", ".data.json.abcdefgh.tmp", "report/.index.html.abcdefgh.tmp",
        "outputs/.test.safetensors.abcdefgh.tmp", "stages/1-finetune/.done.json.abcdefgh.tmp",
        "stages/1-finetune/.original.abcdefgh/new/model.safetensors", "model/.config.json.abcdefgh.tmp",
        "stages/.2-assistant.taken/model/x", "stages/.2-assistant.begun/model/x", ".model.abcdefgh/old/x",
        "stages/2-assistant/work/train/checkpoint-3/x", "stages/2-assistant/parts/.step-001/x",
        "cache/abc-float32.partial/x", "compare/.claims/choosing.lock",
    ):  # fmt: skip
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("half")
    (run / "done.json").unlink()
    assert again() == []
    assert {str(f.relative_to(run)) for f in run.rglob("*")} == before


@pytest.mark.parametrize("kept", [False, True])
def test_what_a_grid_had_begun_to_move_aside_is_put_back_or_moved_on(run, again, tmp_path, kept):
    """Killed on the way; then the recipe is applied without its grid."""
    names = ["done.json", "data.json", "computing.json", "run.json"] + (["stages", "model"] if kept else [])
    (run / ".aside").mkdir()
    shutil.copy(run / "recipe.yaml", run / ".aside" / "recipe.yaml")
    for name in names:
        (run / name).rename(run / ".aside" / name)
    if kept:
        (run / "kept.json").write_text('{"settings": {"assistant.temperature": 2}}')
        again(assistant={"temperature": 2, "epochs": 1, "learning_rate": 1e-3})
        assert (tmp_path / "tiny.1" / "stages" / "1-finetune").is_dir()
        assert (tmp_path / "tiny.1" / "done.json").is_file()
    else:
        assert again() == []
    assert not (run / ".aside").exists()
