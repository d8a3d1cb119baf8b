"""A comparison small enough to be trained in seconds."""

from copy import deepcopy

import torch
from safetensors.torch import load_file
from tiny import TINY

from prunekit import comparison
from prunekit.recipes import expand, recipe_from_mapping
from prunekit.runs import Run

# The subject has no stage but these; "hotter" begins as it does, "joint" tries two learning rates.
COMPARE = {
    "seeds": [7, 8],
    "systems": {
        "hotter": {"label": "Hot", "assistant": {"temperature": 4}},
        "joint": {
            "stages": ["finetune", "joint", "evaluate"],
            "joint": {"uses": "finetune", "start": "model", "exits": "recipe", "epochs": 1},
            "grid": {"joint.learning_rate": [1e-6, 3e-2]},
        },
    },
}


def recipe_of(output, compare=COMPARE, **changes):
    data = deepcopy(TINY) | {"output": str(output), "name": "subject", "compare": compare}
    data |= {"stages": ["finetune", "assistant", "evaluate"], "evaluate": {"thresholds": [0.2, 0.6]}}
    data["training"]["checkpoint_seconds"] = 60
    data["assistant"]["epochs"] = data["finetune"]["epochs"] = 1
    for key in ("slenderize", "recover"):
        del data[key]
    for key, value in changes.items():
        data[key] = {**data[key], **value} if isinstance(value, dict) and key in data else value
    return recipe_from_mapping(data)


def apply(output, compare=COMPARE, jobs=1, **changes):
    """As prunekit apply does it; all runs of the comparison."""
    recipe = recipe_of(output, compare, **changes)
    runs = expand(recipe)
    with Run(recipe) as run:
        comparison.check(runs)
        done = comparison.train([(run, runs)], jobs)[0]
        comparison.write_comparison(done, run.report_folder)
    return done


def same_weights(one, other):
    one, other = weights(one), weights(other)
    assert list(one) == list(other) and one
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def weights(folder):
    """Every saved tensor below a folder."""
    found = {}
    for file in sorted(folder.rglob("model.safetensors")):
        for name, tensor in load_file(file).items():
            found[f"{file.relative_to(folder)}:{name}"] = tensor
    return found
