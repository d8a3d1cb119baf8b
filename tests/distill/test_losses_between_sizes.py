"""Attention and cosine losses against plain loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunekit.distill import attention_loss, cosine_loss


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mask_of(lengths, length):
    return (torch.arange(length)[None] < torch.tensor(lengths)[:, None]).long()


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=3), heads=st.integers(1, 3),
    layers=st.integers(1, 3), seed=st.integers(0, 1000),
)  # fmt: skip
def test_attention_is_the_mean_over_heads_and_pairs_of_real_tokens(lengths, heads, layers, seed):
    shape = (layers, len(lengths), heads, 5, 5)
    ours, theirs, mask = normal(seed, *shape), normal(seed + 1, *shape), mask_of(lengths, 5)
    expected = []
    for layer in range(layers):
        total, count = 0.0, 0
        for example, length in enumerate(lengths):
            for head in range(heads):
                for i in range(length):
                    for j in range(length):
                        difference = ours[layer, example, head, i, j] - theirs[layer, example, head, i, j]
                        total += float(difference) ** 2
                        count += 1
        expected.append(total / count)
    found = attention_loss(list(ours), list(theirs), mask, "none")
    assert found.tolist() == pytest.approx(expected, rel=1e-4)
    assert attention_loss(list(ours), list(theirs), mask).item() == pytest.approx(sum(expected), rel=1e-4)


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=3), seed=st.integers(0, 1000))
def test_cosine_is_the_mean_over_real_tokens(lengths, seed):
    ours, theirs = normal(seed, len(lengths), 5, 4), normal(seed + 1, len(lengths), 5, 4)
    every = []
    for example, length in enumerate(lengths):
        for i in range(length):
            a, b = ours[example, i].tolist(), theirs[example, i].tolist()
            norms = sum(x * x for x in a) ** 0.5 * sum(x * x for x in b) ** 0.5
            every.append(1 - sum(x * y for x, y in zip(a, b, strict=True)) / norms)
    found = cosine_loss(ours, theirs, mask_of(lengths, 5))
    assert found.item() == pytest.approx(sum(every) / len(every), rel=1e-4, abs=1e-6)


def test_shapes_that_differ_are_refused():
    mask = torch.ones(1, 3)
    with pytest.raises(ValueError, match="2 layers of the student, 1 of the teacher"):
        attention_loss([torch.zeros(1, 2, 3, 3)] * 2, [torch.zeros(1, 2, 3, 3)], mask)
    with pytest.raises(ValueError, match=r"\(1, 2, 3, 3\) of the student, \(1, 4, 3, 3\)"):
        attention_loss([torch.zeros(1, 2, 3, 3)], [torch.zeros(1, 4, 3, 3)], mask)
    with pytest.raises(ValueError, match=r"\(1, 3, 2\) of the student, \(1, 3, 4\)"):
        cosine_loss(torch.zeros(1, 3, 2), torch.zeros(1, 3, 4), mask)
