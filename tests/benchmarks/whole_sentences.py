r"""Validation sentences of SST-2 none of whose phrases is trained on.

GLUE's training file holds sentences and many of their phrases, each with a label, and its dev set sentences
alone. Examples held out of the file at random are phrases whose sentence, or whose other phrases, are trained
on: a model that remembers does well on them, and not on dev. This writes two files instead: sentences that
are held out, and what is left without them and without what occurs in no other sentence.

    python tests/benchmarks/whole_sentences.py SST-2/train.tsv --to sst2 --count 1500
    prunekit apply costeff-8x-minilm data.train_file=sst2/train.tsv \
      data.validation_file=sst2/validation.tsv data.test_file=SST-2/dev.tsv data.train_size=20000 ...
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SHORTEST = 5  # words of a sentence that is held out


def sentences_of(texts: Sequence[str]) -> list[list[int]]:
    """For every text the places of those that contain it and are in no longer one themselves.

    A text that is in no other is its own sentence. Contained means word by word, in order, without gaps.
    """
    words = [text.split() for text in texts]
    found: list[list[int]] = [[] for _ in texts]
    having: dict[str, list[int]] = {}
    for place in sorted(range(len(texts)), key=lambda place: -len(words[place])):
        rarest = min(words[place], key=lambda word: len(having.get(word, ())))
        inner = f" {' '.join(words[place])} "
        found[place] = [
            outer for outer in having.get(rarest, ()) if inner in f" {' '.join(words[outer])} "
        ] or [place]
        if found[place] == [place]:
            for word in set(words[place]):
                having.setdefault(word, []).append(place)
    return found


def divided(texts: Sequence[str], count: int, seed: int) -> tuple[list[int], list[int]]:
    """Places of the training texts and of the validation sentences."""
    sentences = sentences_of(texts)
    whole = [
        place
        for place, found in enumerate(sentences)
        if found == [place] and len(texts[place].split()) >= SHORTEST
    ]
    held = set(np.random.default_rng(seed).permutation(whole)[:count].tolist())
    return [place for place, found in enumerate(sentences) if not held.issuperset(found)], sorted(held)


def main() -> None:
    """Read the file, write the two."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with options.file.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    parts = divided([row["sentence"] for row in rows], options.count, options.seed)
    options.to.mkdir(parents=True, exist_ok=True)
    for name, places in zip(("train", "validation"), parts, strict=True):
        with (options.to / f"{name}.tsv").open("w", encoding="utf-8", newline="") as file:
            file.write("sentence\tlabel\n")
            file.writelines(
                f"{rows[place]['sentence'].strip()}\t{rows[place]['label']}\n" for place in places
            )
        print(f"{options.to / name}.tsv: {len(places)}")


if __name__ == "__main__":
    main()
