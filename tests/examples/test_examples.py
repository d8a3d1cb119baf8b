"""Every example runs in a folder of its own, without arguments or a network, and its figures hold."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from prunekit.granularities.channels import Channels
from prunekit.testing import check_scorer

EXAMPLES = Path(__file__).parents[2] / "examples"
LONGEST = 80


@pytest.fixture
def run(tmp_path):
    """Copies an example, and what lies beside it under its name, to an empty folder and runs it there."""

    def run(name: str, *arguments: str) -> str:
        for file in EXAMPLES.glob(f"{name}.*"):
            shutil.copy(file, tmp_path)
        root = os.fspath(EXAMPLES.parent)
        done = subprocess.run(
            [sys.executable, f"{name}.py", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": root, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def rows(output: str) -> dict[str, tuple[int, float]]:
    """Lines such as ``Model after: 1,364 parameters, ..., accuracy 0.99`` by what stands in front."""
    pattern = r"^(.+?):? +([\d,]+) parameters.*accuracy (\d\.\d+)$"
    found = re.findall(pattern, output, re.MULTILINE)
    return {name.rstrip(): (int(size.replace(",", "")), float(score)) for name, size, score in found}


def test_every_example_is_short_and_tested():
    scripts = {file.stem: file for file in EXAMPLES.glob("*.py")}
    here = Path(__file__).read_text(encoding="utf-8")
    assert scripts
    for name, file in scripts.items():
        assert len(file.read_text(encoding="utf-8").splitlines()) <= LONGEST, name
        assert f'run("{name}"' in here, f"no test runs {name}"


def test_scorer_in_custom_model(run):
    found = rows(run("scorer_in_custom_model"))
    for model in ("SmallCNN", "SmallMLP"):
        before, after, loaded = (found[f"{model} {when}"] for when in ("before", "after", "loaded"))
        # Half of every hidden layer: half of the MLP, a good third of the CNN, remains.
        assert after[0] < 0.51 * before[0]
        assert min(before[1], after[1]) > 0.9
        assert loaded == after


def test_scorers_in_torch_pruning(run):
    found = {}
    for line in run("scorers_in_torch_pruning").splitlines():
        name, size, *scores = re.findall(r"^\w+|[\d,]+(?= param)|\d\.\d{3}", line)
        found[name] = (int(size.replace(",", "")), [float(score) for score in scores])
    size, (accuracy,) = found.pop("dense")
    assert accuracy > 0.88
    assert set(found) == {"Taylor", "TaylorPublished", "Magnitude", "Random"}
    # Layers of 8 and 16 channels: 8 x 9 + 8, 16 x 8 x 9 + 16, 10 x (16 x 4) + 10.
    assert {cut for cut, _ in found.values()} == {80 + 1168 + 650}
    for cut, trained in (scores for _, scores in found.values()):
        assert cut < trained > 0.8


def test_decoder(run):
    output = run("decoder")
    (before, macs), (after, slim_macs) = (
        tuple(int(n.replace(",", "")) for n in pair)
        for pair in re.findall(r"([\d,]+) parameters, ([\d,]+) multiply-adds", output)
    )
    # Four layers: Q and O 128 x 128, K and V 128 x 64, three FFN matrices 128 x 344, two norms of 128; then
    # the last norm, and the vocabulary of 1000 at both ends.
    assert before == 4 * (2 * 128 * 128 + 2 * 128 * 64 + 3 * 128 * 344 + 2 * 128) + 128 + 2 * 1000 * 128
    assert before / 2.5 * 0.99 < after <= before / 2.5
    assert slim_macs < macs
    kept = {name: int(size) for name, size in re.findall(r"^  ([\w.]+): (\d+) of", output, re.MULTILINE)}
    query, narrow = 32, 16  # a key/value group: two query heads and one key/value head of 16
    rank = kept["embeddings.rank"]
    assert rank >= 48
    expected = 128 + 1000 * 128 + rank * (1000 + 128)
    for layer in range(4):
        heads, neurons = kept[f"layers.{layer}.heads"], kept[f"layers.{layer}.neurons"]
        expected += heads * 128 * 2 * (query + narrow) + 3 * 128 * neurons + 2 * 128
    assert after == expected
    assert re.search(r"loaded as LlamaForCausalLM, generates \[1, 17, 42, 99(, \d+){1,8}\]", output)


def test_custom_scorer_computes_what_it_says(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    from custom_scorer import Activation

    model = nn.Sequential(nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 1), nn.Flatten(), nn.Linear(144, 3))
    batches = [torch.randn(4, 2, 8, 8) for _ in range(3)]
    groups = Channels(example_inputs=batches[0]).groups(model)
    scores = Activation().score(model, groups, batches, lambda model, batch: model(batch).sum())
    first = torch.cat([model[1](model[0](batch)) for batch in batches])
    assert torch.allclose(scores["0"], first.square().mean(dim=(0, 2, 3)), rtol=1e-4)
    second = torch.cat([model[:3](batch) for batch in batches])
    assert torch.allclose(scores["2"], second.square().sum(dim=(2, 3)).mean(dim=0), rtol=1e-4)
    assert model.training


def test_custom_scorer_is_a_scorer(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    from custom_scorer import Activation

    check_scorer(Activation())


def test_the_command_finds_a_scorer_beside_the_recipe(tmp_path):
    here, elsewhere = tmp_path / "here", tmp_path / "bin"
    here.mkdir()
    elsewhere.mkdir()
    for file in EXAMPLES.glob("custom_scorer.*"):
        shutil.copy(file, here)
    # As an installed command: what Python puts first on its path is the folder of the script.
    command = elsewhere / "prunekit"
    command.write_text("from prunekit.cli import main\nmain()\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, command, "plan", "custom_scorer.yaml"],
        cwd=here,
        env={**os.environ, "PYTHONPATH": os.fspath(EXAMPLES.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"2 of 4 +64 of 128", done.stdout)


@pytest.mark.slow
def test_custom_scorer(run, tmp_path):
    output = run("custom_scorer", "finetune.epochs=2", "recover.epochs=1", "slenderize.interval_epochs=0.25")
    assert "fewer parameters" in output
    folder = tmp_path / "runs" / "custom_scorer"
    recipe = (folder / "recipe.yaml").read_text(encoding="utf-8")
    assert "scorer: custom_scorer:Activation" in recipe
    report = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))
    layers = report["systems"][0]["figures"]["layers"]
    assert [(layer["heads"], layer["neurons"]) for layer in layers] == [(2, 64)] * 3
    assert [(layer["heads_before"], layer["neurons_before"]) for layer in layers] == [(4, 128)] * 3


@pytest.mark.slow
def test_costeff_in_python(run):
    found = rows(run("costeff_in_python"))
    original, slender = found["original"], found["slender"]
    assert found["assistant"][0] == original[0] + 2 * (64 * 2 + 2)  # two more exits
    assert slender[0] < 0.4 * original[0]
    assert original[1] > 0.7
    assert slender[1] > 0.95 * original[1]
    policies = [scores for name, scores in found.items() if name.startswith("slender, entropy")]
    assert len(policies) == 3
    assert all(size == slender[0] and score > 0.9 * original[1] for size, score in policies)
