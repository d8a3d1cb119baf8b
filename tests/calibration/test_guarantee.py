"""Shares as people write them, the words of a guarantee, and the configuration they are kept in."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import simulated
from pydantic import BaseModel

from prunekit.calibration import (
    Confidence,
    Share,
    calibrate,
    guarantee_of,
    points_words,
    read_confidence,
    read_share,
    share_words,
    store,
    told,
    warn_of_large_drop,
)
from prunekit.errors import CheckpointError, RecipeError
from prunekit.exits import MultiExitConfig
from prunekit.exits.policies import sweep_of
from prunekit.reports import with_guarantee
from prunekit.reports.card import guarantee_section


@pytest.mark.parametrize("text", ["1%", "1 %", " 1% ", "0.01", 0.01, "1e-2"])
def test_shares(text: str | float) -> None:
    assert read_share(text) == pytest.approx(0.01)

    class Settings(BaseModel):
        max_drop: Share

    assert Settings(max_drop=text).max_drop == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("95", "95%"),
        (95, "95%"),
        (1, "1%"),
        ("1", "1%"),
        ("0%", "1%"),
        ("one", "1%"),
        ("101%", "1%"),
        (-0.1, "1%"),
    ],
)
def test_what_is_no_share(text: str | float, mend: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_share(text, "max_drop")
    assert caught.value.message.startswith("max_drop: ")
    assert mend in str(caught.value.mend)


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("0", "write 95% or 0.95"),
        ("100%", "write 95% or 0.95"),
        ("ninety", "write 95% or 0.95"),
        ("1", "write 95% or 0.95"),
        (1, "write 95% or 0.95"),
        ("40", "write 95% or 0.95"),
        ("90", "write 90% or 0.9"),
        ("0.95%", "did you mean 95%?"),
        ("0.9 %", "did you mean 90%?"),
        ("1%", "did you mean 95%?"),
        ("5%", "did you mean 95%?"),
        (0.05, "did you mean 95%?"),
        ("49.9%", "did you mean 95%?"),
    ],
)
def test_what_is_no_confidence(text: str | float, mend: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_confidence(text, "confidence")
    assert caught.value.message.startswith("confidence: ")
    assert mend in str(caught.value.mend)

    class Settings(BaseModel):
        confidence: Confidence

    with pytest.raises(ValueError, match="value: "):
        Settings(confidence=text)


@pytest.mark.parametrize("text", ["50%", "0.5", 0.95, "99.9%"])
def test_confidences(text: str | float) -> None:
    assert read_confidence(text) == read_share(text)


def test_a_large_drop_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_large_drop(0.1, "--max-drop")
        assert not caplog.text
        warn_of_large_drop(0.99, "--max-drop")
    assert "--max-drop: up to 99 points" in caplog.text


def test_words_of_shares() -> None:
    assert share_words(0.95) == "95 %"
    assert share_words(0.999) == "99.9 %"
    assert [points_words(x) for x in (0.01, 0.005, 0.02)] == ["1 point", "0.5 points", "2 points"]


def result(size: int = 2000):
    said = simulated.outputs(np.random.default_rng(3), size)
    return calibrate(
        said, sweep_of("entropy", simulated.EXITS, 2), simulated.macs(size), max_drop=0.02, confidence=0.9
    )


def test_what_is_told() -> None:
    found = result()
    guarantee = told(found, "calibration examples of sst2", "But.")
    assert found.chosen is not None
    assert guarantee["policy"] == found.chosen.policy
    assert guarantee["drop"] == found.chosen.drop
    assert guarantee["saved"] == pytest.approx(1 - found.chosen.cost)
    for words in ("90 %", "2 points", "2,000 calibration examples of sst2", "But."):
        assert words in guarantee["words"]
    assert json.loads(json.dumps(guarantee)) == guarantee


def test_nothing_to_promise() -> None:
    guarantee = told(result(40), "examples of a.tsv")
    assert guarantee["policy"] is None
    assert guarantee["saved"] == guarantee["drop"] == 0.0
    assert "all layers" in guarantee["words"]


def test_kept_in_the_configuration(tmp_path: Path) -> None:
    before = {"zebra": [1, 2], "model_type": "prunekit_multi_exit", "exit_policy": None, "name": "é"}
    (tmp_path / "config.json").write_text(json.dumps(before), encoding="utf-8")
    guarantee = told(result(), "examples")
    store(tmp_path, guarantee)
    after = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert after == {**before, "exit_policy": guarantee["policy"], "exit_guarantee": guarantee}
    assert list(after)[:4] == list(before)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_guarantee_is_of_one_policy() -> None:
    guarantee = told(result(), "examples")
    config = MultiExitConfig(exit_policy=guarantee["policy"], exit_guarantee=guarantee)
    assert guarantee_of(config) == guarantee
    config.exit_policy = {"name": "entropy", "threshold": 0.69}
    assert guarantee_of(config) is None
    assert guarantee_of(MultiExitConfig()) is None


def test_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        store(tmp_path, told(result(), "examples"))


CARD = "---\na: b\n---\n# Name\n\nSentence.\n\n## Use\n\nThus.\n\n## Figures\n\n| a |\n"


@pytest.mark.parametrize("card", [CARD, "# Mine\n", "# Mine\n\n## One\n", "no heading"])
def test_the_card_says_it_once(card: str) -> None:
    """Whatever was in the card stays; a second guarantee takes the place of the first."""
    first = with_guarantee(card, "first words of <it>")
    second = with_guarantee(first, "second words")
    assert "first words of \\<it\\>" in first
    assert "first words" not in second
    assert second.count("## Guarantee") == 1
    rest = second.replace(guarantee_section("second words"), "")
    assert rest.split() == card.split()
    if "\n## " in card:
        assert second.index("## Guarantee") < second.index("## Use" if "Use" in card else "## One")


def test_stored_in_the_card_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text(CARD, encoding="utf-8")
    guarantee = told(result(), "examples")
    store(tmp_path, guarantee)
    assert guarantee["words"][:60] in (tmp_path / "README.md").read_text(encoding="utf-8")
