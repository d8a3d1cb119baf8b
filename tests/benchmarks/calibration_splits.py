"""Whether the guarantee of ``prunekit calibrate`` holds on the predictions of real models, and what it saves.

    python tests/benchmarks/calibration_splits.py runs/sst2 runs/mrpc --to docs/results/calibration

The predictions of a finished run (those kept in its ``outputs/``; validation and test examples together, so
that there are enough) are split at random many times: on one part a policy is calibrated, the other is what
comes. Three shares of broken promises are told, each to be at most 1 - confidence:

- *all*: the drop over all of the run's predictions, the population that the part was drawn from, is more than
  was promised. This is what the guarantee is about.
- *again*: the same, with the calibration examples drawn with replacement, as if from an endless population.
- *rest*: the drop on the other part is more. A part is itself a sample, whose drop varies by chance: even
  a policy whose true drop is a little below the promise goes over it there now and then, so that this share
  may be larger than promised. It is here because it is what a person sees who checks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prunekit import checkpoints
from prunekit.calibration import (
    choose,
    fewest_examples,
    harms,
    points_words,
    read_share,
    share_words,
    stronger_bound,
)
from prunekit.costs import exit_macs
from prunekit.exits.policies import sweep_of
from prunekit.reports import ExitOutputs, exits_taken
from prunekit.reports.markdown import markdown_table
from prunekit.stages.outputs import outputs_of


@dataclass(frozen=True)
class Row:
    """One setting over all splits; shares of the splits, means over them."""

    run: str
    policy: str
    bound: str
    examples: int
    calibrated_on: int
    max_drop: float
    confidence: float
    splits: int
    broken_all: float
    broken_again: float
    broken_rest: float
    chosen: float
    saved: float
    drop: float


@dataclass(frozen=True)
class Pool:
    """All that a run's model said, and what its policies would make of it.

    Attributes:
        losses: 1, -1 or 0 for every policy and example, ``[P, N]``.
        costs: multiply-adds spent, over the mean of all layers', ``[P, N]``.
    """

    name: str
    policies: list[dict[str, Any]]
    losses: np.ndarray
    costs: np.ndarray


def pool_of(run: Path, parts: Sequence[str], policy: str) -> Pool:
    """Everything said about some splits of a run."""
    said = [outputs_of(run, part) for part in parts]
    sure = [one.certainty for one in said]
    outputs = ExitOutputs(
        logits=np.concatenate([one.logits for one in said], axis=1),
        labels=np.concatenate([one.labels for one in said]),
        lengths=np.concatenate([one.lengths for one in said]),
        exit_layers=said[0].exit_layers,
        certainty=None if sure[0] is None else np.concatenate(sure, axis=1),
    )
    macs = exit_macs(checkpoints.load(run / "model"), outputs.lengths)
    policies = sweep_of(policy, *(outputs.logits.shape[i] for i in (0, 2)))
    taken = np.stack([exits_taken(outputs.logits, p, outputs.certainty) for p in policies])
    spent = macs[np.arange(macs.shape[0]), taken] / macs[:, -1].mean()
    return Pool(run.name, policies, harms(outputs, taken), spent)


def chosen_on(pool: Pool, rows: np.ndarray, seed: int, **asked: Any) -> int | None:
    """Number of the policy that is chosen on some examples; ``None``: all layers."""
    found = choose(
        pool.policies, pool.losses[:, rows], pool.costs[:, rows], accuracy=1.0, seed=seed, **asked
    )  # fmt: skip
    return None if found.chosen is None else pool.policies.index(found.chosen.policy)


def measured(pool: Pool, splits: int, share: float, seed: int, **asked: Any) -> Row | None:
    """One setting; ``None`` where so few examples can show nothing."""
    examples = pool.losses.shape[1]
    size = round(share * examples)
    if size < fewest_examples(asked["max_drop"], asked["confidence"]):
        return None
    rng = np.random.default_rng(seed)
    whole = pool.losses.mean(axis=1)
    broken = {"all": 0, "again": 0, "rest": 0}
    saved, drops, left = [], [], 0
    for number in range(splits):
        order = rng.permutation(examples)
        policy = chosen_on(pool, order[:size], number, **asked)
        if policy is not None:
            rest = order[size:]
            left += 1
            drops.append(pool.losses[policy, rest].mean())
            broken["all"] += bool(whole[policy] > asked["max_drop"])
            broken["rest"] += bool(drops[-1] > asked["max_drop"])
        saved.append(0.0 if policy is None else 1 - pool.costs[policy, order[size:]].mean())
        again = chosen_on(pool, rng.integers(examples, size=size), number, **asked)
        broken["again"] += bool(again is not None and whole[again] > asked["max_drop"])
    bound = asked["bound"]
    return Row(
        run=pool.name,
        policy=pool.policies[0]["name"],
        bound=stronger_bound(size, asked["max_drop"], asked["confidence"]) if bound == "auto" else bound,
        examples=examples,
        calibrated_on=size,
        max_drop=asked["max_drop"],
        confidence=asked["confidence"],
        splits=splits,
        broken_all=broken["all"] / splits,
        broken_again=broken["again"] / splits,
        broken_rest=broken["rest"] / splits,
        chosen=left / splits,
        saved=float(np.mean(saved)),
        drop=float(np.mean(drops)) if drops else 0.0,
    )


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    header = ["Run", "Policy", "Calibrated on", "May lose", "Promised", "Broken: all", "again", "rest"]
    header += ["Left early", "FLOPs saved", "Lost on the rest", "Bound"]
    return markdown_table(
        header,
        [
            [
                row.run,
                row.policy,
                f"{row.calibrated_on:,} of {row.examples:,}",
                points_words(row.max_drop),
                share_words(1 - row.confidence),
                *(f"{100 * x:.1f} %" for x in (row.broken_all, row.broken_again, row.broken_rest)),
                f"{100 * row.chosen:.0f} %",
                f"{100 * row.saved:.1f} %",
                f"{100 * row.drop:.2f} points",
                row.bound,
            ]
            for row in rows
        ],
    )


def rows_of(arguments: argparse.Namespace) -> Iterator[Row]:
    """A row for every run, policy and setting that can show something."""
    for run in arguments.runs:
        for policy in arguments.policies:
            pool = pool_of(run, arguments.parts, policy)
            for confidence in arguments.confidences:
                for max_drop in arguments.max_drops:
                    row = measured(
                        pool, arguments.splits, arguments.share, arguments.seed,
                        max_drop=max_drop, confidence=confidence, bound=arguments.bound,
                    )  # fmt: skip
                    if row is not None:
                        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    parser.add_argument(
        "--parts", nargs="+", default=["validation", "test"], help="splits of their predictions"
    )
    parser.add_argument("--policies", nargs="+", default=["entropy"])
    parser.add_argument("--max-drops", nargs="+", type=read_share, default=[0.01, 0.02, 0.03])
    parser.add_argument("--confidences", nargs="+", type=read_share, default=[0.9, 0.95])
    parser.add_argument("--bound", choices=["auto", "binomial", "betting"], default="auto")
    parser.add_argument("--share", type=read_share, default=0.5, help="of the predictions to calibrate on")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, help="write STEM.table.md and STEM.json")
    arguments = parser.parse_args()
    rows = list(rows_of(arguments))
    text = table(rows)
    print(text)
    for row in rows:
        allowed = 1 - row.confidence
        for what in ("all", "again"):
            if getattr(row, f"broken_{what}") > allowed:
                print(f"broken more often than promised ({what}): {row}")
    if arguments.to is not None:
        arguments.to.parent.mkdir(parents=True, exist_ok=True)
        arguments.to.with_name(f"{arguments.to.name}.table.md").write_text(text, encoding="utf-8")
        data = json.dumps([asdict(row) for row in rows], indent=1) + "\n"
        arguments.to.with_name(f"{arguments.to.name}.json").write_text(data, encoding="utf-8")


if __name__ == "__main__":
    main()
