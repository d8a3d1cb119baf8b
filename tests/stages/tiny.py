"""A recipe small enough to be applied in seconds."""

from copy import deepcopy

from prunekit.recipes import recipe_from_mapping
from prunekit.runs import Run
from prunekit.stages import run_recipe

TINY = {
    "name": "tiny",
    "seed": 7,
    "model": {
        "name": "builtin:small-encoder",
        "config": {
            "num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 32,
        },
    },
    "data": {"task": "reviews", "train_size": 100, "validation_size": 30, "test_size": 30},
    "exits": {"reads": "mean"},
    "training": {"precision": "float32", "batch_size": 16, "checkpoint_seconds": 0},
    "finetune": {"epochs": 2, "learning_rate": 1e-3},
    "assistant": {"epochs": 2, "learning_rate": 1e-3},
    "slenderize": {
        "heads": 2, "neurons": 16, "rank": 8, "score_batches": 2, "interval_epochs": 0.5,
        "learning_rate": 1e-3,
    },
    "recover": {
        "features_epochs": 1, "epochs": 2, "features_learning_rate": 1e-3, "learning_rate": 1e-3,
    },
    "stages": ["finetune", "assistant", "slenderize", "recover", "evaluate"],
}  # fmt: skip


def tiny_recipe(output, **changes):
    """The tiny recipe with whole keys replaced or mappings merged one level deep."""
    data = deepcopy(TINY) | {"output": str(output)}
    for key, value in changes.items():
        data[key] = {**data[key], **value} if isinstance(value, dict) and key in data else value
    return recipe_from_mapping(data)


def apply(output, **changes):
    recipe = tiny_recipe(output, **changes)
    with Run(recipe) as run:
        run_recipe(recipe, run)
    return run.folder
