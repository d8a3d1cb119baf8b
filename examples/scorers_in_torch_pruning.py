"""prunekit's scorers as ``importance=`` in torch-pruning's own pruner.

A scorer is a torch-pruning ``Importance``: torch-pruning finds the groups and cuts, prunekit says what each
channel is worth. Scorers that differentiate read ``.grad``, as torch-pruning's own do: call
``loss.backward()`` before ``pruner.step()``. ``taylor_example`` cannot work this way, since ``.grad`` has
summed over the examples already; it has ``score(model, groups, batches, loss)`` like all of them.
"""

import copy

import torch
import torch_pruning as tp
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from prunekit.scorers.magnitude import Magnitude
from prunekit.scorers.random import Random
from prunekit.scorers.taylor import Taylor
from prunekit.scorers.taylor_published import TaylorPublished

digits = load_digits()  # 1,797 images of 8 x 8 pixels, part of scikit-learn
images, labels = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)
train_images, train_labels, test_images, test_labels = (
    images[:1000],
    labels[:1000],
    images[1000:],
    labels[1000:],
)


def train(model, epochs):
    """The training loop is yours."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for rows in [rows for _ in range(epochs) for rows in torch.randperm(1000).split(50)]:
        optimizer.zero_grad()
        cross_entropy(model(train_images[rows]), train_labels[rows]).backward()
        optimizer.step()


def accuracy(model):
    """On images the model has not seen."""
    return (model(test_images).argmax(dim=1) == test_labels).float().mean().item()


def size(model):
    """Number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


torch.manual_seed(0)
dense = nn.Sequential(
    *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2), nn.ReLU()),
    *(nn.Flatten(), nn.Linear(256, 10)),
)
train(dense, epochs=10)
print(f"{'dense':15} {size(dense):6,} parameters, accuracy {accuracy(dense):.3f}")

for scorer in (Taylor(), TaylorPublished(), Magnitude(), Random(seed=0)):
    model = copy.deepcopy(dense)
    pruner = tp.pruner.MetaPruner(
        model, test_images[:1], importance=scorer, pruning_ratio=0.75, ignored_layers=[model[-1]]
    )
    model.zero_grad()
    cross_entropy(model(train_images), train_labels).backward()  # Magnitude and Random do without
    pruner.step()
    cut = accuracy(model)
    train(model, epochs=5)
    name = type(scorer).__name__
    print(f"{name:15} {size(model):6,} parameters, accuracy {cut:.3f}, trained again {accuracy(model):.3f}")
