"""Models whose channels are concatenated, split or shared, for tests of the granularity ``channels``."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Dense(nn.Module):
    """A DenseNet block: every layer reads all before it, through norms over the concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(6 + 4 * i) for i in range(3))
        self.layers = nn.ModuleList(nn.Conv2d(6 + 4 * i, 4, 3, padding=1) for i in range(3))
        self.join = nn.Conv2d(18, 8, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        every = [self.stem(x)]
        for norm, layer in zip(self.norms, self.layers, strict=True):
            every.append(layer(F.relu(norm(torch.cat(every, 1)))))
        return self.head(F.relu(self.join(F.relu(torch.cat(every, 1)))).mean((2, 3)))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 6, 3, padding=1)
        self.deep = nn.Conv2d(6, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 5, 2, stride=2)
        self.join = nn.Conv2d(11, 6, 3, padding=1)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        skip = F.relu(self.down(x))
        up = self.up(F.relu(self.deep(F.max_pool2d(skip, 2))))
        return self.head(F.relu(self.join(torch.cat([up, skip], 1))))


class Inception(nn.Module):
    """Nested concatenation of branches, a norm over it, and flattening."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.one, self.pool = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 3, 1)
        self.reduce, self.three = nn.Conv2d(8, 5, 1), nn.Conv2d(5, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(13)
        self.join = nn.Conv2d(13, 7, 1)
        self.head = nn.Linear(7 * 16, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        inner = torch.cat([self.one(x), self.three(F.relu(self.reduce(x)))], 1)
        x = torch.cat([inner, self.pool(F.avg_pool2d(x, 3, 1, 1))], 1)
        return self.head(F.relu(self.join(F.relu(self.norm(x)))).flatten(1))


class Twice(nn.Module):
    """Channels that are concatenated with themselves, and depthwise convolutions behind a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.other = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 3, 1)
        self.depth = nn.Conv2d(11, 11, 3, padding=1, groups=11)
        self.join = nn.Conv2d(11, 6, 1)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        y = self.first(x)
        x = self.depth(torch.cat([y, self.other(x), F.relu(y)], 1))
        return self.head(F.relu(self.join(F.relu(x))).mean((2, 3)))


class Gated(nn.Module):
    """A gated feed-forward block with one fused matrix in ``parts`` parts."""

    def __init__(self, parts: int = 2, width: int = 8) -> None:
        super().__init__()
        self.parts = parts
        self.inner = nn.Linear(5, 10)
        self.fused = nn.Linear(10, parts * width)
        self.down = nn.Linear(width, 10)
        self.head = nn.Linear(10, 3)

    def forward(self, x):
        x = self.inner(x)
        first, *rest = self.fused(x).chunk(self.parts, -1)
        return self.head(x + self.down(F.silu(first) * sum(rest)))


class GatedConv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fused, self.out, self.head = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(6, 5, 1), nn.Linear(5, 2)

    def forward(self, x):
        value = self.fused(x)
        value, gate = value.split(value.shape[1] // 2, dim=1)
        return self.head(F.relu(self.out(value * torch.sigmoid(gate))).mean((2, 3)))


class Tied(nn.Module):
    """An embedding and the output matrix are one parameter."""

    def __init__(self, bias: bool = False) -> None:
        super().__init__()
        self.words = nn.Embedding(30, 16)
        self.wide, self.narrow = nn.Linear(16, 24), nn.Linear(24, 16)
        self.out = nn.Linear(16, 30, bias=bias)
        self.out.weight = self.words.weight

    def forward(self, x):
        x = self.words(x)
        return self.out(x + self.narrow(F.relu(self.wide(x))))


class TiedLinear(nn.Module):
    """Two linear layers side by side, and one that reads what they make, are one parameter in pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.left, self.right = nn.Linear(5, 12), nn.Linear(12, 10), nn.Linear(12, 10)
        self.right.weight = self.left.weight
        self.head = nn.Linear(10, 3)

    def forward(self, x):
        x = F.relu(self.inner(x))
        return self.head(F.relu(self.left(x)) * torch.sigmoid(self.right(x)))


class TiedAcross(nn.Module):
    """Layers that are one parameter, one behind the other: no channel of theirs can go alone."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.first, self.middle = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.last, self.free, self.head = nn.Linear(6, 6), nn.Linear(6, 7), nn.Linear(7, 3)
        self.last.weight = self.first.weight

    def forward(self, x):
        for layer in (self.inner, self.first, self.middle, self.last, self.free):
            x = F.relu(layer(x))
        return self.head(x)


class Shared(nn.Module):
    """Modules that run more than once."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.wide, self.narrow = nn.Linear(5, 12), nn.Linear(12, 7), nn.Linear(7, 12)
        self.square, self.head = nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x):
        x = self.inner(x)
        for _ in range(2):
            x = x + self.narrow(F.relu(self.wide(x)))
            x = x + self.square(F.relu(x))
        return self.head(x)


class Recurrent(nn.Module):
    def __init__(self, kind=nn.LSTM) -> None:
        super().__init__()
        self.inner, self.cells = nn.Linear(5, 12), kind(12, 10, batch_first=True)
        self.after, self.head = nn.Linear(10, 9), nn.Linear(9, 3)

    def forward(self, x):
        return self.head(F.relu(self.after(self.cells(F.relu(self.inner(x)))[0])))
