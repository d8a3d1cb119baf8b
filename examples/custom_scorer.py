"""A scorer of your own, used from a recipe.

``custom_scorer.yaml`` names it by its import path, so ``prunekit apply custom_scorer.yaml`` in this folder
does the same as running this file. A package would offer it to everybody with an entry point:

    [project.entry-points."prunekit.scorers"]
    activation = "my_package.scorers:Activation"
"""

import sys
from pathlib import Path

import torch

import prunekit
from prunekit.modes import evaluating
from prunekit.scorers import register
from prunekit.scorers.base import split_intrinsic


@register("activation")
class Activation(prunekit.Scorer):
    """Mean square of what a unit passes on, over all tokens; needs data, but no gradient.

    A unit's activations are seen at the gates of its group: for a head the input of the attention output
    matrix, for a neuron the input of the second FFN matrix.
    """

    def score(self, model, groups, batches=(), loss=None):
        """Importance of every unit: group name -> float32 [group.size]."""
        watched, scores = split_intrinsic(groups)  # an embedding's ranks rank themselves
        sums = {group.name: torch.zeros(group.size) for group in watched}
        counts = dict.fromkeys(sums, 0)

        def watch(group, gate):
            def add(module, inputs):
                values = inputs[0].detach().float().movedim(gate.dim, -1)
                tokens = values.reshape(-1, group.size, gate.width)
                sums[group.name] += tokens.square().sum(dim=(0, 2)).cpu()
                counts[group.name] += len(tokens)

            return gate.module.register_forward_pre_hook(add)

        hooks = [watch(group, gate) for group in watched for gate in group.gates]
        try:
            with torch.no_grad(), evaluating(model):
                for batch in batches:
                    loss(model, batch)  # runs the model; its value is not needed here
        finally:
            for hook in hooks:
                hook.remove()
        scores.update({name: total / counts[name] for name, total in sums.items()})
        return {group.name: scores[group.name] for group in groups}

    def __call__(self, group, **kwargs):
        """torch-pruning's call: it has no activations, only parameters and their gradients."""
        raise NotImplementedError("activation works on prunekit's groups, through score()")


if __name__ == "__main__":
    from prunekit.cli import main

    main(["apply", str(Path(__file__).with_suffix(".yaml")), *sys.argv[1:]])
