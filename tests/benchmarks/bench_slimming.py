"""What slimming BERT base costs, and its embedding's SVD against ``numpy.linalg.svd``.

    python tests/benchmarks/bench_slimming.py         # prints the figures; numpy takes minutes and 8 GB

BERT base (random weights) goes from 12 to 2 heads, 3,072 to 256 neurons and embedding rank 128. NumPy's full
decomposition of the same 30,522 x 768 matrix, with its default arguments, forms a 30,522 x 30,522 matrix.
Ours is timed before and after it; the highest resident size is read in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from prunekit.architectures import truncated_svd
from prunekit.granularities import registry as granularities

ROWS, COLUMNS, RANK = 30522, 768, 128
SIZES = {"heads": 2, "neurons": 256, "rank": RANK}
PEAK = "--peak"


def matrix() -> torch.Tensor:
    """As large as BERT's word embedding."""
    return torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))


def ours(weight: torch.Tensor) -> float:
    """Seconds of one truncated SVD."""
    began = time.perf_counter()
    truncated_svd(weight, RANK)
    return time.perf_counter() - began


def numpys(weight: torch.Tensor) -> float:
    """Seconds of NumPy's, with default arguments."""
    began = time.perf_counter()
    np.linalg.svd(weight.numpy())
    return time.perf_counter() - began


def slimming() -> float:
    """Seconds of slimming BERT base, scores given."""
    torch.manual_seed(0)
    model = BertModel(BertConfig(), add_pooling_layer=False)
    groups = [group for name in SIZES for group in granularities.build(name).groups(model)]
    began = time.perf_counter()
    for group in groups:
        group.keep(torch.arange(SIZES[group.granularity]))
    return time.perf_counter() - began


def peak_growth() -> int:
    """Bytes by which the SVD raises the highest resident size of a process: a full one needs 3.7 GB more."""
    weight = matrix()
    truncated_svd(weight[:1000], RANK)
    before = highest_resident()
    truncated_svd(weight, RANK)
    return highest_resident() - before


def highest_resident() -> int:
    """Bytes, from Linux's own record: getrusage begins with the size of the process before."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def peak_growth_elsewhere() -> int:
    """:func:`peak_growth` in a fresh process."""
    done = subprocess.run([sys.executable, __file__, PEAK], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


@pytest.mark.benchmark
def test_slimming_bert_base_takes_under_a_second() -> None:
    assert min(slimming() for _ in range(3)) < 1.0


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_the_svd_takes_at_most_a_tenth_of_numpys() -> None:
    weight = matrix()
    before = ours(weight)
    slow = numpys(weight)
    assert max(before, ours(weight)) <= 0.1 * slow


@pytest.mark.benchmark
def test_the_svd_forms_no_square_of_the_vocabulary() -> None:
    assert peak_growth_elsewhere() < 0.2 * ROWS * ROWS * 4


if __name__ == "__main__":
    if PEAK in sys.argv:
        print(peak_growth())
    else:
        print(f"slimming BERT base: {min(slimming() for _ in range(3)):.2f} s (best of 3)")
        print(f"peak memory of the SVD: {peak_growth_elsewhere() / 2**20:.0f} MiB")
        embedding = matrix()
        first, slow, second = ours(embedding), numpys(embedding), ours(embedding)
        ratio = max(first, second) / slow
        print(f"SVD: {first:.2f} s and {second:.2f} s, NumPy {slow:.1f} s, ratio {ratio:.3f}")
