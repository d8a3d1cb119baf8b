"""Orders of epochs, and rows in memory."""

import numpy as np
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from prunekit.stages.training.batches import EpochSampler, Rows, epoch_sampler, padded_tokens


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=300),
    batch=st.integers(1, 16),
    grouped=st.booleans(),
    epoch=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_an_epoch_takes_every_row_once_and_the_same_way_again(lengths, batch, grouped, epoch):
    lengths = np.array(lengths)
    sampler = EpochSampler(lengths, batch, 3, grouped)
    sampler.set_epoch(epoch)
    order = list(sampler)
    assert sorted(order) == list(range(len(lengths)))
    again = EpochSampler(lengths, batch, 3, grouped)
    list(again)  # what was drawn before has no influence
    again.set_epoch(epoch)
    assert list(again) == order


@given(
    size=st.integers(1, 60), parts=st.integers(1, 5), batch=st.integers(1, 16), grouped=st.booleans(),
    turn=st.integers(0, 3),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_so_many_epochs_take_every_row_once(size, parts, batch, grouped, turn):
    lengths = np.random.default_rng(size).integers(1, 40, size * parts)
    sampler = EpochSampler(lengths, batch, 5, grouped, parts)
    epochs = [sampler.order(epoch).tolist() for epoch in range(turn * parts, (turn + 1) * parts)]
    assert [len(epoch) for epoch in epochs] == [len(sampler)] * parts == [size] * parts
    assert sorted(row for epoch in epochs for row in epoch) == list(range(size * parts))


def test_epochs_and_seeds_differ():
    lengths = np.full(100, 5)
    orders = {
        tuple(EpochSampler(lengths, 8, seed, False).order(epoch)) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(orders) == 4


def test_grouping_spares_padding_and_keeps_batches_in_random_order():
    lengths = np.random.default_rng(0).integers(3, 60, 1000)
    grouped, plain = EpochSampler(lengths, 10, 0, True), EpochSampler(lengths, 10, 0, False)
    assert padded_tokens(lengths, grouped.order(0), 10) < 0.65 * padded_tokens(lengths, plain.order(0), 10)
    longest = lengths[grouped.order(0)].reshape(-1, 10).max(axis=1)
    assert abs(np.corrcoef(np.arange(100), longest)[0, 1]) < 0.3


def test_padded_tokens_is_the_loop_over_batches():
    lengths = np.array([3, 1, 4, 1, 5])
    assert padded_tokens(lengths, np.array([0, 1, 2, 3, 4]), 2) == 2 * 3 + 2 * 4 + 5


def test_grouping_is_chosen_where_it_pays():
    varied = np.random.default_rng(0).integers(3, 60, 500)
    assert epoch_sampler(varied, 8, 0, "auto").grouped
    assert not epoch_sampler(np.full(500, 20), 8, 0, "auto").grouped
    assert epoch_sampler(np.full(500, 20), 8, 0, "on").grouped
    assert not epoch_sampler(varied, 8, 0, "off").grouped


def test_rows_are_those_of_the_split():
    split = Dataset.from_dict(
        {
            "input_ids": [[5, 6], [7], [8, 9, 10]],
            "attention_mask": [[1, 1], [1], [1, 1, 1]],
            "labels": [0, 1, 1],
            "index": [0, 1, 2],
        }
    )
    for view in (split.with_format("torch"), split.select([2, 0]).with_format("torch")):
        rows = Rows(view)
        assert len(rows) == len(view)
        for ours, theirs in zip((rows[i] for i in range(len(rows))), view, strict=True):
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[name], theirs[name]) for name in ours)
