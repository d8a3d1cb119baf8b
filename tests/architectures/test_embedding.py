"""The embedding's truncated SVD against the singular values themselves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunekit.architectures import FactorizedEmbedding, singular_values, truncated_svd


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 30), columns=st.integers(1, 20), seed=st.integers(0, 10**6), data=st.data())
def test_error_is_the_tail_of_the_singular_values(rows, columns, seed, data):
    """Eckart-Young: the squared error equals the sum of the squared singular values left out."""
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rank = data.draw(st.integers(1, min(rows, columns)))
    first, second = truncated_svd(weight, rank)
    assert first.shape == (rows, rank)
    assert second.shape == (rank, columns)
    values = torch.linalg.svdvals(weight)
    error = (weight - first @ second).norm()
    assert torch.isclose(error, values[rank:].norm(), atol=1e-6 * float(values[0]), rtol=1e-6)
    assert torch.allclose(singular_values(weight), values, atol=1e-6 * float(values[0]))


def test_beats_random_projection():
    generator = torch.Generator().manual_seed(0)
    decay = torch.linspace(1, 0.01, 32)
    weight = torch.randn(200, 32, generator=generator) * decay
    first, second = truncated_svd(weight, 8)
    best = (weight - first @ second).norm()
    for _ in range(20):
        basis = torch.linalg.qr(torch.randn(32, 8, generator=generator)).Q
        assert best < (weight - weight @ basis @ basis.T).norm()


def test_factor_one_carries_the_singular_values():
    """Eq. 1: U S in the first factor, orthonormal rows in the second."""
    weight = torch.randn(50, 12, generator=torch.Generator().manual_seed(3))
    first, second = truncated_svd(weight, 5)
    assert torch.allclose(second @ second.T, torch.eye(5), atol=1e-5)
    assert torch.allclose(first.norm(dim=0), torch.linalg.svdvals(weight)[:5], rtol=1e-4)


def test_forward_is_the_product():
    module = FactorizedEmbedding.from_weight(torch.randn(20, 6), 3, padding_idx=0)
    ids = torch.tensor([[1, 19], [0, 4]])
    assert torch.allclose(module(ids), module.weight[ids], atol=1e-6)


@pytest.mark.parametrize("rank", [0, 7])
def test_impossible_rank(rank):
    with pytest.raises(ValueError, match="outside"):
        truncated_svd(torch.randn(20, 6), rank)
