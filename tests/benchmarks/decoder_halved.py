"""A small decoder, halved: perplexity before and after, saving, loading, generating with and without a cache.

    python tests/benchmarks/decoder_halved.py MODEL TEXTS HELD_OUT [--steps N]

MODEL is a folder with a causal language model and its tokenizer; TEXTS and HELD_OUT are text files, one
text a line. Half of the neurons and of the key/value groups go, by Taylor on the first 64 of TEXTS; then it
is trained on TEXTS for some steps.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

import prunekit

READ = """
import sys, torch, prunekit
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1]).eval()
ids = torch.tensor([[int(word) for word in sys.argv[2].split()]])
arguments = dict(max_new_tokens=40, do_sample=False, attention_mask=torch.ones_like(ids))
with_cache = model.generate(ids, use_cache=True, **arguments)
assert torch.equal(with_cache, model.generate(ids, use_cache=False, **arguments))
print(*with_cache[0].tolist())
"""


def batches(tokenizer: Any, texts: list[str], size: int = 8) -> list[dict[str, Tensor]]:
    made = []
    for start in range(0, len(texts), size):
        batch = tokenizer(
            texts[start : start + size], return_tensors="pt", padding=True, truncation=True, max_length=256
        )
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        made.append(
            {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "labels": labels}
        )
    return made


@torch.no_grad()
def perplexities(model: nn.Module, tokenizer: Any, texts: list[str]) -> list[float]:
    """Of each text."""
    model.eval()
    losses = [model(**batch).loss for text in texts for batch in batches(tokenizer, [text])]
    return [round(math.exp(float(loss)), 2) for loss in losses]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("texts")
    parser.add_argument("held_out")
    parser.add_argument("--steps", type=int, default=200)
    given = parser.parse_args()
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    texts = Path(given.texts).read_text("utf-8").splitlines()
    held_out = [t for t in Path(given.held_out).read_text("utf-8").splitlines() if t.strip()]
    model = AutoModelForCausalLM.from_pretrained(given.model)
    print("parameters", sum(p.numel() for p in model.parameters()))
    print("perplexity before", perplexities(model, tokenizer, held_out))
    budget = {"name": "ratio", "keep": 0.5}
    pruner = prunekit.Pruner(model, ["heads", "neurons"], "taylor", budget=budget)
    pruner.score(batches(tokenizer, texts[:64]), loss=lambda model, batch: model(**batch).loss)
    pruner.step()
    print(pruner)
    print("parameters", sum(p.numel() for p in model.parameters()))
    print("perplexity halved", perplexities(model, tokenizer, held_out))
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    data = batches(tokenizer, texts)
    for step in range(given.steps):
        optimizer.zero_grad()
        model(**data[step % len(data)]).loss.backward()
        optimizer.step()
    print(f"perplexity after {given.steps} steps", perplexities(model, tokenizer, held_out))
    with tempfile.TemporaryDirectory() as folder:
        prunekit.save(model, f"{folder}/halved", tokenizer)
        beginning = tokenizer("Once upon a time")["input_ids"]
        command = [sys.executable, "-c", READ, f"{folder}/halved", " ".join(map(str, beginning))]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        print(tokenizer.decode([int(word) for word in done.stdout.split()], skip_special_tokens=True))
        again = AutoModelForCausalLM.from_pretrained(f"{folder}/halved").eval()
        assert perplexities(again, tokenizer, held_out) == perplexities(model, tokenizer, held_out)


if __name__ == "__main__":
    main()
