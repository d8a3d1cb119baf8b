"""What is said, where it goes, and how much of it."""

import logging

import pytest

from prunekit import console


@pytest.fixture(autouse=True)
def restore_logging():
    root = logging.getLogger("prunekit")
    before = root.handlers, root.propagate, root.level
    yield
    root.handlers, root.propagate = before[0], before[1]
    root.setLevel(before[2])
    console._verbosity = console.Verbosity.NORMAL


def test_log_lines_say_the_stage_and_step_on_standard_error(capsys):
    console.setup()
    with console.where("slenderize"), console.where("step 3/10"):
        logging.getLogger("prunekit.stages").info("scored [48] heads")
    logging.getLogger("prunekit").debug("not said")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "slenderize, step 3/10: scored [48] heads" in captured.err
    assert "not said" not in captured.err


def test_quiet_says_warnings_only(capsys):
    console.setup(console.Verbosity.QUIET)
    logging.getLogger("prunekit").info("chatter")
    logging.getLogger("prunekit").warning("trouble")
    with console.progress("training", 2) as task:
        task.advance(2)
    captured = capsys.readouterr()
    assert "chatter" not in captured.err and "training" not in captured.err
    assert "trouble" in captured.err


def test_progress_without_a_terminal_logs_the_time_left(capsys, monkeypatch):
    clock = iter(range(0, 10_000, 6))
    console.setup()
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.where("recover"), console.progress("training", 20) as task:
        for _ in range(20):
            task.advance(loss=0.25)
    lines = [line for line in capsys.readouterr().err.splitlines() if "recover: training" in line]
    # 6 s a step, said every second step: 2, 4, ..., 20.
    assert len(lines) == 10
    assert "training 2/20, 1 min 48 s left, loss 0.25" in lines[0]
    assert "training 20/20, 0 s left" in lines[-1]


def test_progress_in_a_program_without_our_logging_is_silent(capsys):
    with console.progress("training", 2) as task:
        task.advance(2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")],
)
def test_duration(seconds, text):
    assert console.duration(seconds) == text


def test_piped_tables_are_not_squeezed(capsys):
    table = console.table("Parts", "name", "summary")
    table.add_row("x" * 40, "y" * 100)
    console.out().print(table)
    assert "y" * 100 in capsys.readouterr().out
