"""Apply a recipe to GLUE files with several seeds, and tabulate what came of it.

    python tests/benchmarks/glue_table.py run --recipe recipes/costeff-8x-minilm.yaml \
        --model MODEL_FOLDER --data GLUE_FOLDER --tasks sst2 mrpc --seeds 1 2 3 --output runs
    python tests/benchmarks/glue_table.py table runs/*-8x-* --to docs/results/minilm-8x

``GLUE_FOLDER`` holds ``SST-2/train.tsv``, ``SST-2/dev.tsv`` and so on. The dev files are reported; whatever
is chosen (checkpoints, thresholds) is chosen on a held-out part of the training files. ``table`` writes
numbers alone, no text of the data: a Markdown table and the same as JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

FOLDERS = {"sst2": "SST-2", "mrpc": "MRPC", "qnli": "QNLI", "mnli": "MNLI"}
# A share of the sentences keeps a run on a processor within half an hour.
SETTINGS: dict[str, list[str]] = {
    "sst2": ["data.train_size=20000", "data.validation_size=2000"],
    "mrpc": [
        "data.metrics=[accuracy,f1]",
        "finetune.epochs=4",
        "assistant.epochs=4",
        "assistant.learning_rate=5e-5",
        "assistant.exits_learning_rate=1e-3",
        "slenderize.interval_epochs=0.6",
        "recover.augmentation.copies=7",
        "recover.features_epochs=24",
        "recover.epochs=5",
        "recover.learning_rate=1e-4",
    ],
    "qnli": [],
    "mnli": [],
}


def run(arguments: argparse.Namespace) -> None:
    """Apply the recipe, once for each task and seed; finished runs are skipped, broken ones go on."""
    for seed in arguments.seeds:
        for task in arguments.tasks:
            files = Path(arguments.data) / FOLDERS[task]
            name = f"{task}-{arguments.label}-{seed}"
            command = [
                sys.executable, "-m", "prunekit", "apply", arguments.recipe, "--name", name,
                "--output", arguments.output, f"seed={seed}", f"model.name={arguments.model}",
                f"data.task={task}", f"data.train_file={files / 'train.tsv'}",
                f"data.test_file={files / 'dev.tsv'}", *SETTINGS[task], *arguments.override,
            ]  # fmt: skip
            print(name, flush=True)
            subprocess.run(command, check=True)


def read(folder: Path, speedups: Sequence[float]) -> dict[str, Any]:
    """The figures of one run."""
    report = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))
    system, dense = report["systems"][0], report["dense"]
    evaluation = system["evaluation"]
    metric = evaluation["metrics"][0]
    points = [evaluation["all_layers"], *evaluation["points"]]
    best = {
        str(speedup): max(
            (point["all"]["scores"][metric] for point in points if point["all"]["speedup"] >= speedup),
            default=None,
        )
        for speedup in speedups
    }
    return {
        "task": report["task"],
        "seed": report["seed"],
        "metric": metric,
        "dense": evaluation["dense"]["scores"],
        "all_layers": evaluation["all_layers"]["all"]["scores"],
        "chosen": evaluation["chosen"]["all"],
        "chosen_policy": evaluation["chosen"]["policy"],
        "exits": evaluation["exit_scores"],
        "best_at_speedup": best,
        "parameters": system["figures"]["parameters"],
        "dense_parameters": dense["parameters"],
        "macs": system["figures"]["macs"],
        "dense_macs": dense["macs"],
        "seconds": report["seconds"],
        "stages": {stage["name"]: stage["seconds"] for stage in report["stages"]},
        "machine": report["machine"],
        "versions": report["versions"],
        "recipe": _settings(report["recipe"]),
    }


def _settings(recipe: dict[str, Any]) -> dict[str, Any]:
    """The resolved recipe without the places of files."""
    recipe = json.loads(json.dumps(recipe))
    for key in [key for key in recipe["data"] if key.endswith("_file")]:
        if recipe["data"][key]:
            recipe["data"][key] = Path(recipe["data"][key]).name
    recipe["model"]["name"] = Path(recipe["model"]["name"]).name
    recipe.pop("output", None)
    return recipe


def spread(values: list[float], mean: Callable[[list[float]], float] = statistics.mean) -> str:
    """Mean and, of two values or more, standard deviation.

    Args:
        mean: of speedups the harmonic one, which is the dense cost over the mean cost, as in comparisons.
    """
    middle = f"{mean(values):.1f}"
    return middle if len(values) == 1 else f"{middle} ± {statistics.stdev(values):.1f}"


def table(arguments: argparse.Namespace) -> None:
    """Write the table of the runs' figures."""
    speedups = arguments.speedups
    rows = [read(Path(folder), arguments.speedups) for folder in arguments.runs]
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["task"]].append(row)
    lines = [
        "| task | metric | seeds | dense | all layers | kept, % | chosen exits | kept, % | FLOPs, x fewer "
        "| static, x fewer | parameters, x fewer | minutes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    curves = [
        "| task | metric |" + "".join(f" ≥ {s}x |" for s in speedups),
        "| --- | --- |" + " --- |" * len(speedups),
    ]
    for task, found in groups.items():
        for metric in found[0]["dense"]:
            dense = [100 * row["dense"][metric] for row in found]
            every = [100 * row["all_layers"][metric] for row in found]
            chosen = [100 * row["chosen"]["scores"][metric] for row in found]
            cells = [
                task, metric, ", ".join(str(row["seed"]) for row in found), spread(dense), spread(every),
                spread([100 * a / b for a, b in zip(every, dense, strict=True)]), spread(chosen),
                spread([100 * a / b for a, b in zip(chosen, dense, strict=True)]),
                spread([row["chosen"]["speedup"] for row in found], statistics.harmonic_mean),
                spread([row["dense_macs"] / row["macs"] for row in found]),
                spread([row["dense_parameters"] / row["parameters"] for row in found]),
                spread([row["seconds"] / 60 for row in found]),
            ]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
        metric = found[0]["metric"]
        kept = []
        for speedup in speedups:
            values = [row["best_at_speedup"][str(speedup)] for row in found]
            shares = [
                100 * v / row["dense"][metric] for v, row in zip(values, found, strict=True) if v is not None
            ]
            kept.append(spread(shares) if len(shares) == len(found) else "not reached")
        curves.append(f"| {task} | {metric} | " + " | ".join(kept) + " |")
    text = "\n".join(
        [
            *lines, "",
            "Share of the dense score, in %, kept by the best threshold of the sweep that is at least so "
            "much cheaper (read off the reported examples' curve, so a little flattering):", "",
            *curves, "",
        ]
    )  # fmt: skip
    target = Path(arguments.to)
    target.with_suffix(".table.md").write_text(text, encoding="utf-8")
    target.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(text)


def main() -> None:
    """Parse and do."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("--recipe", required=True)
    runs.add_argument("--label", default="8x", help="part of the runs' names")
    runs.add_argument("--model", required=True)
    runs.add_argument("--data", required=True)
    runs.add_argument("--tasks", nargs="+", default=["sst2", "mrpc"], choices=sorted(FOLDERS))
    runs.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    runs.add_argument("--output", default="runs")
    runs.add_argument("--override", nargs="*", default=[], help="further KEY=VALUE")
    tables = commands.add_parser("table")
    tables.add_argument("runs", nargs="+")
    tables.add_argument("--speedups", nargs="+", type=int, default=[10, 12, 15, 19, 25])
    tables.add_argument("--to", required=True, help="path without suffix")
    arguments = parser.parse_args()
    run(arguments) if arguments.command == "run" else table(arguments)


if __name__ == "__main__":
    main()
