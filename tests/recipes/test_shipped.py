"""The recipes that come with prunekit, and that they do come with it."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import prunekit
from prunekit.planning import plan
from prunekit.recipes import expand, load_recipe, shipped_recipes

ROOT = Path(__file__).parents[2]

BERT_BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}


def config_folder(folder, sizes):
    folder.mkdir()
    shared = {"model_type": "bert", "vocab_size": 30522, "max_position_embeddings": 512, "pad_token_id": 0}
    (folder / "config.json").write_text(json.dumps({**shared, **sizes}))
    return folder


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_recipe_says_what_it_is_and_can_be_planned(name, tmp_path):
    recipe = load_recipe(name)
    assert recipe.name == name and recipe.description and not recipe.notes
    if not recipe.model.is_builtin:
        sizes = MINILM if "minilm" in name else BERT_BASE
        recipe = load_recipe(name, [f"model.name={config_folder(tmp_path / 'model', sizes)}"])
    planned = plan(recipe)
    assert [stage.key for stage in planned.stages] == recipe.stages
    final = planned.stages[-1].figures
    if "slenderize" in recipe.stages:
        wanted = recipe.config("slenderize")
        assert {(layer.heads, layer.neurons) for layer in final.layers} == {(wanted.heads, wanted.neurons)}
        assert final.embedding_rank == wanted.rank
        assert len(final.by_exit) == len(final.layers)


def test_the_default_recipe_is_eight_times_smaller_outside_the_embeddings():
    planned = plan(load_recipe("costeff"))
    dense, slender = planned.stages[0].figures, planned.stages[-1].figures
    body, own = (f.parameters - f.embedding_parameters for f in (dense, slender))
    assert body >= 8 * own


def test_minilm_comes_to_3_4_million_parameters(tmp_path):
    folder = config_folder(tmp_path / "model", MINILM)
    planned = plan(load_recipe("costeff-8x-minilm", [f"model.name={folder}"]))
    assert 22.5e6 < planned.original.parameters < 22.8e6
    assert 3.35e6 < planned.stages[-1].figures.parameters < 3.45e6


def test_the_systems_compared_on_minilm_are_of_one_size(tmp_path):
    folder = config_folder(tmp_path / "model", MINILM)
    runs = expand(load_recipe("compare-8x-minilm", [f"model.name={folder}"]))
    own, *others = (plan(run.candidates[0].recipe).stages[-1].figures for run in runs)
    assert len(others) == 2
    for other in others:
        assert other.parameters == pytest.approx(own.parameters, rel=0.005)
        assert other.macs == pytest.approx(own.macs, rel=0.03)


def test_the_wheel_holds_recipes_assets_and_the_typing_marker(tmp_path):
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for file in (ROOT / "recipes").glob("*.yaml"):
            assert archive.read(f"prunekit/recipes/builtin/{file.name}") == file.read_bytes()
        for file in (ROOT / "prunekit" / "reports" / "assets").iterdir():
            assert f"prunekit/reports/assets/{file.name}" in names
        assert {"prunekit/py.typed", "prunekit/recipes/schema.json"} <= names
        assert not [name for name in names if name.startswith("tests/") or "__pycache__" in name]
        info = f"prunekit-{prunekit.__version__}.dist-info"
        metadata = archive.read(f"{info}/METADATA").decode()
        assert f"Version: {prunekit.__version__}" in metadata and "License-Expression: Apache-2.0" in metadata
        assert b"prunekit = prunekit.cli:main" in archive.read(f"{info}/entry_points.txt")
        archive.extractall(tmp_path / "installed")
    # Installed, away from the repository, the recipes go by their names.
    code = "from prunekit.recipes import load_recipe; print(load_recipe('costeff-2x-minilm').to_yaml())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed"), "PATH": ""},
        check=True,
        capture_output=True,
        text=True,
    )
    assert yaml.safe_load(done.stdout)["slenderize"]["rank"] == 192
