"""Stages small enough to see through."""

from typing import Literal

import pytest
from pydantic import Field, field_validator

from prunekit.scorers import registry as scorers
from prunekit.stages import Stage, StageConfig, registry


class WarmConfig(StageConfig):
    epochs: float = Field(2.0, gt=0)
    learning_rate: float = Field(2e-5, gt=0)
    mode: Literal["first", "mean"] = "first"


class Warm(Stage):
    """Makes a model warm."""

    Config = WarmConfig
    gives = ("model", "original")

    def run(self, context):
        raise NotImplementedError


class SlimConfig(StageConfig):
    heads: int | Literal["all"] = 2
    layers: list[int] = Field(default_factory=lambda: [1, 2])
    scorer: str | dict = "taylor"

    @field_validator("scorer")
    @classmethod
    def _known(cls, spec):
        scorers.get(spec if isinstance(spec, str) else spec["name"])
        return spec


class Slim(Stage):
    """Makes a model slim."""

    Config = SlimConfig
    needs = ("original",)

    def run(self, context):
        raise NotImplementedError


@pytest.fixture
def stages(monkeypatch):
    registry.names()
    monkeypatch.setitem(registry._parts, "warm", Warm)
    monkeypatch.setitem(registry._parts, "slim", Slim)


@pytest.fixture
def folder(tmp_path, monkeypatch, stages):
    """A working folder with ``base.yaml``; ``write(name, text)`` adds to it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


BASE = """\
name: the-base
description: A base.
model:
  name: builtin:small-encoder
data:
  task: reviews
stages: [warm, slim]
warm:
  epochs: 3
slim:
  heads: 4
  scorer: {name: taylor}
"""
