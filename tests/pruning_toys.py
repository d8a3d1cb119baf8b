"""Small hand-written models, and groups described by hand, for tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prunekit.groups import Gate, Slice, SlicedGroup


class SmallCNN(nn.Module):
    """Convolutions with batch norm, a residual sum, and a flattened linear layer."""

    def __init__(self, width: int = 6, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.stem_norm = nn.BatchNorm2d(width)
        self.inner = nn.Conv2d(width, 10, 3, padding=1)
        self.inner_norm = nn.BatchNorm2d(10)
        self.outer = nn.Conv2d(10, width, 3, padding=1)
        self.outer_norm = nn.BatchNorm2d(width)
        self.hidden = nn.Linear(width * 16, 12)
        self.head = nn.Linear(12, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.stem_norm(self.stem(images)))
        y = torch.relu(self.inner_norm(self.inner(x)))
        x = torch.relu(x + self.outer_norm(self.outer(y)))
        x = nn.functional.max_pool2d(x, 2).flatten(1)
        return self.head(torch.relu(self.hidden(x)))


def small_cnn(seed: int = 0) -> SmallCNN:
    """With batch-norm statistics and scales that are not trivial."""
    torch.manual_seed(seed)
    model = SmallCNN()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.eval()


def images(count: int = 4, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


class Block(nn.Module):
    """A residual feed-forward block with dropout."""

    def __init__(self, hidden_size: int, neurons: int) -> None:
        super().__init__()
        self.wide = nn.Linear(hidden_size, neurons)
        self.narrow = nn.Linear(neurons, hidden_size)
        self.dropout = nn.Dropout(0.5)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.dropout(self.narrow(torch.nn.functional.gelu(self.wide(hidden))))


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value, factor):
        ctx.factor = factor
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        return ctx.factor * gradient, None


class MultiExitMLP(nn.Module):
    """Blocks with a classifier on each, and gradient equilibrium written a second time."""

    def __init__(self, depth: int = 4, hidden_size: int = 6, neurons: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(hidden_size, neurons) for _ in range(depth))
        self.exits = nn.ModuleList(nn.Linear(hidden_size, classes) for _ in range(depth))
        self.gradient_equilibrium = False

    def forward(self, hidden: Tensor) -> Tensor:
        """``[B, T, H]`` -> logits of every exit ``[E, B, C]``, from the mean over tokens."""
        depth, logits = len(self.blocks), []
        for k, (block, head) in enumerate(zip(self.blocks, self.exits, strict=True), 1):
            if self.gradient_equilibrium and k > 1:
                hidden = _Scale.apply(hidden, float(depth - k + 1))
            hidden = block(hidden)
            if self.gradient_equilibrium:
                hidden = _Scale.apply(hidden, 1.0 / (depth - k + 1))
            logits.append(head(hidden.mean(dim=1)))
        return torch.stack(logits)


def multi_exit_mlp(seed: int = 0, **sizes: int) -> MultiExitMLP:
    torch.manual_seed(seed)
    return MultiExitMLP(**sizes)


def neuron_groups(model: MultiExitMLP) -> list[SlicedGroup]:
    """The neurons of every block."""
    return [
        SlicedGroup(
            f"blocks.{i}.neurons",
            "neurons",
            block.wide.out_features,
            layer=i,
            gates=[Gate(block.narrow)],
            slices=[
                Slice(block.wide, "weight", 0),
                Slice(block.wide, "bias", 0),
                Slice(block.narrow, "weight", 1),
            ],
        )
        for i, block in enumerate(model.blocks)
    ]


def token_batches(sizes=(3, 5), hidden_size: int = 6, classes: int = 3, seed: int = 2, dtype=torch.float32):
    """Batches of (hidden states ``[B, T, H]``, labels ``[B]``)."""
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(size, 4, hidden_size, generator=generator, dtype=dtype),
            torch.randint(classes, (size,), generator=generator),
        )
        for size in sizes
    ]


def exit_losses(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy of every exit: ``[E]``."""
    hidden, labels = batch
    return torch.stack([nn.functional.cross_entropy(logits, labels) for logits in model(hidden)])


def masked(group, kept, model, inputs):
    """The model's output with every other unit's activations zero where they are read."""
    hooks = []
    for gate in group.gates:
        index = torch.arange(group.size * gate.width).reshape(group.size, gate.width)
        index = gate.index if gate.index is not None else index

        def zero(module, args, gate=gate, index=index):
            value = args[0].clone()
            gone = [u for u in range(group.size) if u not in kept]
            value.movedim(gate.dim, 0)[index[gone].flatten()] = 0
            return (value,)

        hooks.append(gate.module.register_forward_pre_hook(zero))
    output = model(inputs)
    for hook in hooks:
        hook.remove()
    return output
