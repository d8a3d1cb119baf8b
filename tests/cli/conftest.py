"""A command line to call, and a finished run, a model and a data set to call it on."""

import sys

import pytest
from calling import TINY, Said, spawn, wait


@pytest.fixture
def prunekit(tmp_path, monkeypatch, capsys):
    """``prunekit(*arguments)`` in this process, in an empty working folder."""
    from prunekit import cli, console

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(*arguments):
        capsys.readouterr()
        console.setup()
        typed = [str(argument) for argument in arguments]
        monkeypatch.setattr(sys, "argv", ["prunekit", *typed])
        code = cli.run(typed)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder with a finished ``runs/costeff``."""
    folder = tmp_path_factory.mktemp("finished")
    said = wait(spawn("apply", "costeff", *TINY, cwd=folder))
    assert said.code == 0, said.err
    return folder, said


@pytest.fixture
def tables(tmp_path):
    """Training and test files: two columns, two classes."""
    rows = [f"a {'good' if n % 2 else 'bad'} film number {n}\t{'pos' if n % 2 else 'neg'}" for n in range(60)]
    (tmp_path / "train.tsv").write_text("sentence\tlabel\n" + "\n".join(rows) + "\n")
    (tmp_path / "test.tsv").write_text("sentence\tlabel\n" + "\n".join(rows[:20]) + "\n")
    return ["data.task=mine", "data.train_file=train.tsv", "data.test_file=test.tsv", "data.train_size=null",
            "data.validation_size=null", "data.test_size=null"]  # fmt: skip
