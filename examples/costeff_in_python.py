"""COST-EFF without YAML: prunekit's parts in a plain PyTorch loop, on a small setting of the embedded task.

With ``AutoModel.from_pretrained(...)`` as the backbone and batches of your own, the rest stays as it is.
"""

import copy
from functools import partial
from itertools import islice

import torch
from torch.utils.data import DataLoader

import prunekit
from prunekit.data import DataConfig, collator, encode, load_task, word_tokenizer
from prunekit.distill import LiveTeacher, feature_loss, prediction_loss, truth_loss
from prunekit.models import ModelConfig, load_backbone

torch.manual_seed(0)
task = load_task(DataConfig(train_size=3000, test_size=1000), seed=0)
tokenizer = word_tokenizer(task.train["text"])
data = encode(task, tokenizer, max_length=64)
batches = DataLoader(data.train, batch_size=32, shuffle=True, collate_fn=collator(tokenizer))
test_batches = DataLoader(data.test, batch_size=100, collate_fn=collator(tokenizer))


def exits_loss(model, batch, teacher=None, soft=0.0, hard=0.0, features=0.0, final=False):
    """Soft (Eq. 4) and hard cross-entropy of every exit, and the layers' mean squared error (Eq. 5): [E]."""
    output = model(batch["input_ids"], batch["attention_mask"], all_exits=True, output_hidden_states=True)
    loss = hard * truth_loss(output.exit_logits, batch["labels"], reduction="none")
    if teacher is None:
        return loss
    answer = teacher(batch, hidden_states=True)
    target = answer.logits if final else answer.exit_logits
    error = feature_loss(output.hidden_states, answer.hidden_states, batch["attention_mask"])
    loss = loss + soft * prediction_loss(output.exit_logits, target, reduction="none")
    return loss + features * error / len(loss)


def train(model, epochs, **losses):
    """A plain loop; the exits' gradients are balanced (Eq. 3). Pruned parameters need a new optimizer."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with prunekit.gradient_equilibrium(model.train()):
        for batch in (batch for _ in range(epochs) for batch in batches):
            optimizer.zero_grad()
            exits_loss(model, batch, **losses).sum().backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def show(name, model):
    """Size, layers run for a test example on average, and accuracy."""
    outputs = [(model(b["input_ids"], b["attention_mask"]), b["labels"]) for b in test_batches]
    accuracy = torch.cat([o.logits.argmax(dim=1) == labels for o, labels in outputs]).float().mean()
    layers = torch.cat([o.exit_layer for o, _ in outputs]).float().mean()
    print(f"{name}: {model.num_parameters():,} parameters, {layers:.2f} layers, accuracy {accuracy:.3f}")


with_exits = partial(prunekit.MultiExitForSequenceClassification.from_backbone, reads="mean")
small = {"num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 256}
backbone = load_backbone(ModelConfig(config=small), vocab_size=len(tokenizer))
original = train(with_exits(backbone, exit_layers="last"), epochs=6, hard=1.0)
show("original", original)
assistant = with_exits(copy.deepcopy(original.backbone))  # an exit on every layer
train(assistant, epochs=2, teacher=LiveTeacher(original), soft=0.5, hard=0.5, final=True)
show("assistant", assistant)

slender, teacher = copy.deepcopy(assistant), LiveTeacher(assistant)
budget = {"name": "sizes", "heads": 2, "neurons": 64, "rank": 24}
pruner = prunekit.Pruner(slender, ["heads", "neurons", "rank"], "multi_exit_taylor", budget=budget, steps=2)
while not pruner.done:
    pruner.score(islice(batches, 20), partial(exits_loss, teacher=teacher, soft=0.9, hard=0.1, features=1.0))
    pruner.step()
    train(slender, epochs=1, teacher=teacher, soft=1.0, features=1.0)
train(slender, epochs=1, teacher=teacher, features=1.0)  # hidden states alone, then predictions too
train(slender, epochs=2, teacher=teacher, soft=1.0, features=1.0)
show("slender", slender)
for threshold in (0.1, 0.4, 0.69):  # to use one, choose it on examples that are not reported
    slender.set_exit_policy({"name": "entropy", "threshold": threshold})
    show(f"slender, entropy {threshold}", slender)
