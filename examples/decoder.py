"""Pruning a Llama-type decoder: grouped queries, gated FFN, then ``AutoModelForCausalLM`` again.

Random weights of a small configuration stand in for a checkpoint; with your own, replace the model by
``AutoModelForCausalLM.from_pretrained(...)`` and the batches by tokenised text.
"""

import tempfile

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import prunekit

config = LlamaConfig(
    vocab_size=1000,
    hidden_size=128,
    num_hidden_layers=4,
    num_attention_heads=8,
    num_key_value_heads=4,  # two query heads share a key/value head: they stay or go together
    intermediate_size=344,
    max_position_embeddings=256,
    tie_word_embeddings=False,  # a tied word embedding cannot be factorised alone
    bos_token_id=1,
    eos_token_id=2,
)


def next_token_loss(model, batch):
    """What the scorer differentiates: ``loss(model, batch)`` gives a scalar."""
    return model(input_ids=batch, labels=batch).loss


def show(title, model):
    """Parameters, and multiply-adds for 128 tokens."""
    total = prunekit.count(model, sequence_length=128).total
    print(f"{title:7} {total.parameters:,} parameters, {total.macs:,} multiply-adds")


torch.manual_seed(0)
model = LlamaForCausalLM(config).eval()
batches = [torch.randint(3, 1000, (8, 32)) for _ in range(4)]
show("before", model)

pruner = prunekit.Pruner(
    model,
    ["heads", "neurons", "rank"],
    scorer="taylor",
    # Ranked across layers and granularities, so layers may differ; a floor keeps the embedding useful.
    budget={"name": "target", "parameters": "2.5x", "distribution": "global", "minimum": {"rank": 48}},
    steps=2,
)
while not pruner.done:
    pruner.score(batches, loss=next_token_loss)
    pruner.step()  # between two steps you would train: step(optimizer=...) carries an optimizer over
show("after", model)
for group in pruner.groups:
    print(f"  {group.name}: {group.size} of {group.initial_size}")

with tempfile.TemporaryDirectory() as folder:
    prunekit.save(model, f"{folder}/slim")
    loaded = AutoModelForCausalLM.from_pretrained(f"{folder}/slim")  # `import prunekit` is all it needs

prompt = torch.tensor([[1, 17, 42, 99]])
with torch.no_grad():
    assert torch.equal(loaded(prompt).logits, model(prompt).logits)
text = loaded.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=8, do_sample=False)
print(f"loaded as {type(loaded).__name__}, generates {text[0].tolist()}")
