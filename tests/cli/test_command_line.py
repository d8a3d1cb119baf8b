"""What is typed wrongly, and how a command ends that a part, a person or the system ends."""

from __future__ import annotations

import pytest


def refused(said, *parts, code=2):
    assert said.code == code, said.err
    assert "Traceback" not in said.err
    [place] = [n for n, line in enumerate(said.err.splitlines()) if line.startswith("error: ")]
    for part in parts:
        assert part in said.err, said.err
    return said.err.splitlines()[place:]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["report", "x", "--length", "100000000000"], "'--length'"),
        (["report", "x", "--length", "0"], "'--length'"),
        (["report", "x", "--depth", "1000000"], "'--depth'"),
        (["apply", "costeff", "--jobs", "100000"], "'--jobs'"),
        (["compare", "costeff", "--jobs", "100000"], "'--jobs'"),
        (["predict", "x", "text", "--threshold", "nan"], "'--threshold'"),
        (["predict", "x", "text", "--threshold", "inf"], "'--threshold'"),
        (["predict", "x", "text", "--threshold=-1"], "'--threshold'"),
        (["plan", ""], "'RECIPE'"),
        (["report", ""], "empty"),
        (["predict", "", "text"], "empty"),
        (["compare", "costeff", ""], "empty"),
        (["plan", "costeff", "--name", ""], "'--name'"),
        (["plan", "costeff", "--output", ""], "'--output'"),
        (["plan", "costeff", "--output", "~nobody-of-this-name/x"], "'--output'"),
        (["predict", "x", "--file", ""], "'--file'"),
        (["calibrate", "x", "--data", ""], "'--data'"),
        (["plan", "costeff", "--name", "a/b"], "command line: name"),
        (["plan", "costeff", "--name", "a\nb"], "command line: name"),
        (["plan", "costeff", "--no-such-option\nx"], "--no-such-option"),
        (["plan", "a\udcffb"], "argument 2"),
        (["predict", "x", "a\udcffb"], "argument 3"),
        (["report", "a\0b"], "argument 2"),
        (["plan", "costeff", "--output", "a\0b"], "argument 4"),
        (["plan", "a" * 10_000], "File name too long"),
        (["report", "./" + "a" * 10_000], "File name too long"),
        (["report", "./a\nb"], "there is no folder ./a\\nb"),
        (["report", "~/no-such-model"], "there is no folder ~/no-such-model"),
        (["compare", "a\nb"], "'a\\nb'"),
    ],
)
def test_a_mistyped_argument_is_told_in_one_line(prunekit, arguments, part):
    lines = refused(prunekit(*arguments), part)
    assert len(lines) <= 2 and all(line.startswith("  ") for line in lines[1:])


def test_a_folder_below_ones_home_is_found(prunekit, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    said = prunekit("plan", "costeff", "--output=~/mine", "compare=null")
    assert said.code == 0 and f"{tmp_path}/mine/costeff" in said.out


@pytest.fixture
def ending(prunekit, monkeypatch):
    """``list``, ``plan`` or ``apply`` that is ended by an error."""

    def end(command, error):
        def fail(*_, **__):
            raise error

        place = {"list": "parts.list_kinds", "plan": "plan.plan_recipe", "apply": "apply.apply_recipe"}
        monkeypatch.setattr(f"prunekit.commands.{place[command]}", fail)
        return prunekit(*{"list": ["list"]}.get(command, [command, "costeff"]))

    return end


def test_only_what_continues_promises_to_continue(ending):
    assert ending("list", KeyboardInterrupt()).err == "stopped\n"
    assert ending("plan", KeyboardInterrupt()).err == "stopped\n"
    said = ending("apply", KeyboardInterrupt())
    assert said.code == 130 and said.err == "stopped; give the same command again to continue\n"
    full = OSError(28, "No space left on device")
    assert "same command" in ending("apply", full).err and "same command" not in ending("plan", full).err


def test_too_little_memory_is_no_bug(ending):
    for error in (MemoryError(), RecursionError(), RuntimeError("CUDA out of memory. Tried to allocate")):
        said = ending("plan", error)
        refused(said)
        assert "bug" not in said.err


class Panic(BaseException):
    """As the tokenizers raise them."""


@pytest.mark.parametrize("error", [SystemExit(0), SystemExit(), SystemExit("bye"), SystemExit(7), Panic("x")])
def test_whoever_ends_the_program_is_reported(ending, error):
    said = ending("plan", error)
    refused(said, code=1)
    assert ("bug" if isinstance(error, Panic) else "ended the program") in said.err


def test_an_error_about_the_end_of_a_file_is_no_interrupt(ending):
    assert "EOFError" in ending("plan", EOFError("no more")).err


def test_hostile_names_of_folders_and_tasks(prunekit, tables, tmp_path):
    name = "a\x1b[2Jb [red]x[bold]"
    (tmp_path / name).mkdir()
    said = prunekit("report", f"./{name}")
    assert said.code == 2
    for part in (said.out, said.err):
        assert "\x1b" not in part
    task = ["data.task='mine [/x] \\e[2J'".replace("'", '"'), *tables[1:]]
    said = prunekit("plan", "costeff", *task, "compare=null")
    assert said.code == 0, said.err
    assert "mine [/x] \\x1b[2J" in said.out and "\x1b" not in said.out
