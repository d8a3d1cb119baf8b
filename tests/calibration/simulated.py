"""Made-up predictions of a model whose early exits are worse, as known to the last decimal."""

import numpy as np

from prunekit.reports import ExitOutputs

EXITS = 6


def outputs(rng, examples, classes=2):
    """What six exits say: right more often from exit to exit, and surer where they are right."""
    labels = rng.integers(classes, size=examples)
    # What makes an example hard is the same for all exits; a little is each exit's own, less of it deep down.
    ease = rng.normal(1.6, 1.0, size=examples)
    logits = np.zeros((EXITS, examples, classes))
    for exit_index in range(EXITS):
        own = rng.normal(0, 1.0 - 0.15 * exit_index, size=examples)
        logits[exit_index, np.arange(examples), labels] = 2.5 * (ease + own)
    return ExitOutputs(
        logits=logits.astype(np.float32),
        labels=labels,
        lengths=np.full(examples, 20),
        exit_layers=list(range(1, EXITS + 1)),
        certainty=1 / (1 + np.exp(-np.abs(logits).max(axis=2))),
    )


def macs(examples):
    """Every layer costs the same."""
    return np.tile(np.arange(1, EXITS + 1) * 1000, (examples, 1))


def part(said, rows):
    """Some of the examples."""
    return ExitOutputs(
        logits=said.logits[:, rows],
        labels=said.labels[rows],
        lengths=said.lengths[rows],
        exit_layers=said.exit_layers,
        certainty=said.certainty[:, rows],
    )
