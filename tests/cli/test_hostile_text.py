"""Nothing that is printed steers the terminal or is read as markup, and no stream makes printing fail."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import warnings
from contextlib import contextmanager

import pytest
from calling import OFFLINE
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from prunekit import cli, console
from prunekit.text import shown

HOSTILE = [
    "[/]",
    "[red]x[/red]",
    "[link=http://x]y[/link]",
    ":smile:",
    "\x1b[2J",
    "\x1b]0;TITLE\x07",
    "\x9b31m",
]
HOSTILE += [
    "a\rb",
    "\u202eabc",
    "\x00",
    "\x7f",
    "{task.description}",
    "%s %d",
    "\\[x]",
    "\ud800",
    "\u2028",
    "\b",
]
# Wide enough that no line is broken; characters of one cell, so that alignment adds spaces alone.
words = st.lists(
    st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(), max_size=4)), min_size=1, max_size=6
).map("".join)
STYLES = re.compile(r"\x1b\[[\d;]*m")


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@contextmanager
def on_a_terminal():
    """Standard output and error are one terminal; gives what takes what was written there."""
    before = logging.getLogger("prunekit").handlers, logging.getLogRecordFactory()
    stream = Terminal()

    def written():
        text = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        return text

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "2000")
        patch.setenv("TERM", "xterm-256color")
        patch.delenv("NO_COLOR", raising=False)
        patch.setattr(sys, "stderr", stream)
        patch.setattr(sys, "stdout", stream)
        patch.setattr(warnings, "showwarning", warnings.showwarning)
        console.setup(console.Verbosity.VERBOSE)
        try:
            yield written
        finally:
            console.err.cache_clear()
            logging.getLogger("prunekit").handlers = before[0]
            logging.setLogRecordFactory(before[1])
            console._verbosity = console.Verbosity.NORMAL


def unstyled(text):
    """What was written without the styles that the console set."""
    plain = STYLES.sub("", text)
    assert shown(plain, keep="\n") == plain
    return plain


def spaces_apart(text):
    return " ".join(text.split())


@given(words)
def test_a_line_is_the_text_itself(text):
    with on_a_terminal() as terminal:
        for made in (console.out(), console.err()):
            made.print(text, style="bold red", soft_wrap=True)
            assert unstyled(terminal()) == shown(text, keep="\n") + "\n"
        console.out().print(Text(text), soft_wrap=True)
        console.out().print({"key": text}, soft_wrap=True)
        console.out().print(text, markup=True, emoji=True, soft_wrap=True)
        unstyled(terminal())


@given(words)
def test_a_table_holds_the_texts_themselves(text):
    with on_a_terminal() as terminal:
        table = console.table(f"t {text} t", f"h {text} h", "second", caption=f"c {text} c")
        table.add_row(f"x {text} x", f"y {text} y")
        console.out().print(table)
        # A program that imports prunekit may have a console of its own, which reads markup.
        other = Console(file=(stream := io.StringIO()), force_terminal=True, width=2000)
        other.print(table)
        for written in (unstyled(terminal()), STYLES.sub("", stream.getvalue())):
            line = spaces_apart(shown(text, keep=""))
            lines = [spaces_apart(row) for row in written.splitlines()]
            for name in "thxyc":
                assert sum(spaces_apart(f"{name} {line} {name}") in row for row in lines) == 1
            assert not {"\x1b", "\r", "\x07"} & set(written)


@given(words)
def test_a_line_of_the_log_is_the_text_itself(text):
    with on_a_terminal() as terminal:
        with console.where(f"w {text} w"):
            logging.getLogger("prunekit.x").info("m %s m", text)
        logged = spaces_apart(unstyled(terminal()))
        for said, keep in ((f"w {text} w", ""), (f"m {text} m", "\n")):
            assert spaces_apart(shown(said, keep=keep)) in logged
        try:
            raise ValueError(text)
        except ValueError:
            logging.getLogger("prunekit.x").exception("m %s", text)
        logging.getLogger("prunekit.x").info(text, extra={"markup": False})
        unstyled(terminal())


@given(words)
def test_a_bar_shows_the_texts_themselves(text):
    with on_a_terminal() as terminal:
        with console.where(text), console.progress(f"d {text} d", 3) as bar:
            bar.advance(1, loss=0.5, note=text)
        # A bar moves the cursor; all else it writes is text.
        moves = re.compile(r"\x1b\[(\?25[lh]|\d*[ABK]|2K)|\r")
        written = unstyled(moves.sub("", terminal()))
        assert spaces_apart(shown(f"d {text} d", keep="")) in spaces_apart(written)


@pytest.mark.parametrize("text", HOSTILE)
def test_libraries_warnings_and_logs_do_not_steer_the_terminal(text):
    with on_a_terminal() as terminal:
        library = logging.getLogger("somebody.elses")
        handler = logging.StreamHandler(sys.stderr)
        library.addHandler(handler)
        try:
            library.warning("careful with %s", text)
        finally:
            library.removeHandler(handler)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = console._log_warning
            warnings.warn(f"careful with {text}", UserWarning, stacklevel=1)
        assert unstyled(terminal()).count(f"careful with {shown(text)}") == 2


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\0" not in text and "\ud800" not in text])
@pytest.mark.parametrize("where", ["command", "option", "value", "recipe", "model"])
def test_what_was_typed_is_told_as_it_is(text, where):
    with on_a_terminal() as terminal:
        typed = {
            "command": [f"x{text}"],
            "option": ["plan", "costeff", f"--{text}"],
            "value": ["report", "x", "--length", text],
            "recipe": ["plan", f"x{text}"],
            "model": ["report", f"./x{text}"],
        }
        assert cli.run(typed[where]) == 2
        assert "error: " in unstyled(terminal())


@pytest.mark.parametrize("error", [KeyError, ValueError, RuntimeError, OSError])
def test_an_unexpected_error_and_its_traceback_are_text(monkeypatch, error):
    with on_a_terminal() as terminal:
        text = "".join(HOSTILE)

        def fail(*_, **__):
            raise error(text)

        monkeypatch.setattr("prunekit.commands.parts.list_kinds", fail)
        assert cli.run(["-v", "list"]) == 1
        told = unstyled(terminal())
        assert "Traceback" in told and "this is a bug" in told and "[red]x[/red]" in told


def prunekit(*arguments, shell="", env=None, **settings):
    command = " ".join(["exec", sys.executable, "-m", "prunekit", *arguments, shell])
    return subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, **OFFLINE, **(env or {})},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
        **settings,
    )


ENCODINGS = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "cp1252"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


@pytest.mark.parametrize("env", ENCODINGS, ids=["ascii", "cp1252", "C"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["list", "scorers"], 0),
        (["--help"], 0),
        (["schema"], 0),
        (["plan", "'z\u00fcrich \u4e2d \U0001f372'"], 2),
    ],
)
def test_a_terminal_that_lacks_characters(env, arguments, code):
    said = prunekit(*arguments, env=env)
    assert said.returncode == code, said.stderr
    assert b"Traceback" not in said.stderr and b"Error" not in said.stderr
    assert said.stdout or said.stderr


@pytest.mark.parametrize(
    ("shell", "arguments", "code"),
    [
        (">&-", "list scorers", 0),
        ("2>&-", "list scorers", 0),
        (">&- 2>&- <&-", "list scorers", 0),
        ("2>&-", "plan nothing", 2),
        (">&- 2>&-", "plan nothing", 2),
        (">&-", "--help", 0),
        (">&-", "schema", 0),
        (">/dev/full", "list scorers", 2),
        (">/dev/full", "schema", 2),
        (">/dev/full 2>/dev/full", "list scorers", 2),
        ("2>/dev/full", "plan nothing", 2),
    ],
)
def test_a_stream_that_nothing_can_be_written_to(shell, arguments, code):
    said = prunekit(*arguments.split(), shell=shell)
    assert said.returncode == code, said.stderr
    assert b"Traceback" not in said.stderr and b"Exception" not in said.stderr


@pytest.mark.parametrize("arguments", ["list", "schema", "--help"])
def test_a_reader_that_goes_away_is_no_error(arguments):
    said = prunekit(*arguments.split(), shell="| head -c 1; echo ${PIPESTATUS[0]}")
    assert said.stderr == b""
    said = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m prunekit {arguments} | true; echo ${{PIPESTATUS[0]}}"],
        env={**os.environ, **OFFLINE},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert (said.stdout, said.stderr) == (b"0\n", b"")
