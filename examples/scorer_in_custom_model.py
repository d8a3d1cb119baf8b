"""A scorer imported into a model and a training loop of your own.

Any ``nn.Module`` that torch-pruning can trace will do: the granularity ``channels`` finds what can be
removed, the scorer says what each channel is worth, and the training loop stays yours.
"""

import tempfile

import torch
from torch import nn
from torch.nn.functional import cross_entropy, max_pool2d

import prunekit
from prunekit.granularities.channels import Channels
from prunekit.scorers.taylor import Taylor


class SmallCNN(nn.Module):
    """Sorts 1 x 12 x 12 images into four classes."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        self.classifier = nn.Linear(32, 4)

    def forward(self, images):
        return self.classifier(self.second(max_pool2d(self.first(images), 2)).amax(dim=(2, 3)))


class SmallMLP(nn.Sequential):
    """The same job for linear layers."""

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(144, 64), nn.ReLU(), nn.Linear(64, 4))


def bars(count):
    """Noisy images of a bar: horizontal, vertical, or on one of the two diagonals."""
    images, labels, along = torch.randn(count, 1, 12, 12) * 0.5, torch.randint(4, (count,)), torch.arange(12)
    for image, label, place in zip(images[:, 0], labels, torch.randint(2, 10, (count,)), strict=True):
        across = place.expand(12)
        rows, columns = [(across, along), (along, across), (along, along), (along, 11 - along)][label]
        image[rows, columns] += 1
    return images, labels


def train(model, images, labels, epochs):
    """Your own loop; the optimizer is made anew, since pruning puts new parameters in the model."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for rows in [rows for _ in range(epochs) for rows in torch.randperm(len(images)).split(64)]:
        optimizer.zero_grad()
        cross_entropy(model.train()(images[rows]), labels[rows]).backward()
        optimizer.step()


def describe(model, images, labels):
    """Size and accuracy."""
    correct = (model.eval()(images).argmax(dim=1) == labels).float().mean()
    return f"{sum(p.numel() for p in model.parameters()):,} parameters, accuracy {correct:.3f}"


torch.manual_seed(0)
train_set, test_set = bars(1500), bars(500)
for make in (SmallCNN, SmallMLP):
    model = make()
    train(model, *train_set, epochs=8)
    print(f"{make.__name__} before: {describe(model, *test_set)}")
    channels, budget = Channels(example_inputs=train_set[0][:2]), {"name": "ratio", "keep": 0.5}
    pruner = prunekit.Pruner(model, [channels], scorer=Taylor(), budget=budget, steps=2)
    while not pruner.done:
        pruner.score([train_set], loss=lambda model, batch: cross_entropy(model(batch[0]), batch[1]))
        pruner.step()
        train(model, *train_set, epochs=4)
    print(f"{make.__name__} after:  {describe(model, *test_set)}")
    with tempfile.TemporaryDirectory() as folder:
        prunekit.save(model, f"{folder}/slim")
        loaded = prunekit.load(f"{folder}/slim", into=make())  # a fresh, unpruned one is narrowed and filled
    assert torch.equal(loaded(test_set[0]), model.eval()(test_set[0]))
    print(f"{make.__name__} loaded: {describe(loaded, *test_set)}")
