"""A teacher's answers from disk are its own, and never another teacher's."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import BertConfig, BertModel

from prunekit.distill import (
    CachedTeacher,
    LiveTeacher,
    cache_size,
    feature_loss,
    fingerprint,
    prediction_loss,
)
from prunekit.distill import cache as cache_module
from prunekit.errors import RunError
from prunekit.exits import MultiExitForSequenceClassification


def teacher_model(seed=0):
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, initializer_range=0.5,
    )  # fmt: skip
    return MultiExitForSequenceClassification.from_backbone(BertModel(config), num_labels=3)


def split(examples=13, seed=0):
    draw = np.random.default_rng(seed)
    lengths = draw.integers(2, 12, examples)
    rows = [draw.integers(1, 50, n).tolist() for n in lengths]
    dataset = Dataset.from_dict(
        {"input_ids": rows, "labels": [0] * examples, "index": list(range(examples))}
    ).with_format("torch")
    return dataset, lengths.astype(np.int64)


def collate(rows, left=False):
    width = max(len(r["input_ids"]) for r in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        n = len(row["input_ids"])
        part = slice(width - n, width) if left else slice(0, n)
        ids[i, part], mask[i, part] = row["input_ids"], 1
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": torch.stack([r["labels"] for r in rows]),
        "index": torch.stack([r["index"] for r in rows]),
    }


def build(tmp_path, model=None, data=None, **options):
    dataset, lengths = data or split()
    return CachedTeacher.build(model or teacher_model(), dataset, lengths, collate, tmp_path, **options)


def test_cached_answers_and_losses_are_the_live_ones(tmp_path):
    model, dataset = teacher_model(), split()[0]
    cached, live = build(tmp_path, model, batch_size=4), LiveTeacher(model)
    student = teacher_model(1).eval()
    for rows in ([3, 1, 7, 12], [0], list(range(13))):
        batch = collate([dataset[i] for i in rows])
        ours, theirs = cached(batch, hidden_states=True), live(batch, hidden_states=True)
        torch.testing.assert_close(ours.exit_logits, theirs.exit_logits, rtol=1e-5, atol=1e-6)
        output = student(
            batch["input_ids"], batch["attention_mask"], all_exits=True, output_hidden_states=True
        )
        for loss in (
            lambda t, o=output: prediction_loss(o.exit_logits, t.exit_logits),
            lambda t, o=output, b=batch: feature_loss(o.hidden_states, t.hidden_states, b["attention_mask"]),
        ):
            assert loss(ours).item() == pytest.approx(loss(theirs).item(), rel=1e-5)


def test_padding_may_be_on_the_left(tmp_path):
    model, dataset = teacher_model(), split()[0]
    cached = build(tmp_path, model)
    rows = [dataset[i] for i in (2, 5, 8)]
    right, left = collate(rows), collate(rows, left=True)
    on_right = cached(right, hidden_states=True).hidden_states[2][right["attention_mask"].bool()]
    on_left = cached(left, hidden_states=True).hidden_states[2][left["attention_mask"].bool()]
    assert torch.equal(on_right, on_left)
    assert (cached(left, hidden_states=True).hidden_states[2][left["attention_mask"] == 0] == 0).all()


def test_the_size_is_known_beforehand(tmp_path):
    dataset, lengths = split()
    announced = cache_size(teacher_model(), dataset, lengths, collate)
    cache = build(tmp_path)
    assert cache.shape.nbytes == announced
    on_disk = sum(f.stat().st_size for f in cache.folder.glob("*.bin"))
    assert on_disk == announced - 8 * (len(lengths) + 1)
    assert on_disk == 4 * (int(lengths.sum()) * 4 * 16 + 13 * 3 * 3)


def test_half_precision_takes_half_the_room_and_hardly_changes_the_answers(tmp_path):
    model, (dataset, lengths) = teacher_model(), split()
    whole, half = build(tmp_path, model), build(tmp_path, model, precision="float16")
    assert half.folder != whole.folder
    announced = cache_size(model, dataset, lengths, collate, "float16")
    on_disk = sum(f.stat().st_size for f in half.folder.glob("*.bin"))
    assert on_disk == announced - 8 * (len(lengths) + 1) == 2 * int(lengths.sum()) * 4 * 16 + 4 * 13 * 3 * 3
    batch = collate([dataset[i] for i in range(13)])
    ours, theirs = half(batch, hidden_states=True), whole(batch, hidden_states=True)
    assert torch.equal(ours.exit_logits, theirs.exit_logits)
    for one, other in zip(ours.hidden_states, theirs.hidden_states, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=2**-11, atol=2**-25)  # half of the last bit


def test_hidden_states_too_large_for_half_precision_are_refused(tmp_path):
    model = teacher_model()
    with torch.no_grad():
        norm = next(m for m in reversed(list(model.modules())) if isinstance(m, torch.nn.LayerNorm))
        norm.weight.fill_(1e5)
    with pytest.raises(RunError, match="hidden states beyond 65504, the largest number in float16"):
        build(tmp_path, model, precision="float16")
    assert not list(tmp_path.iterdir())
    assert build(tmp_path, model).shape.precision == "float32"


def test_a_complete_cache_is_opened_not_written_again(tmp_path):
    first = build(tmp_path)
    written = (first.folder / "hidden.bin").stat().st_mtime_ns
    done = []
    second = build(tmp_path, advance=done.append)
    assert second.folder == first.folder and not done
    assert (second.folder / "hidden.bin").stat().st_mtime_ns == written


def test_another_teacher_or_other_data_means_another_cache(tmp_path):
    dataset, _ = split()
    keys = {fingerprint(teacher_model(), dataset), fingerprint(teacher_model(1), dataset)}
    keys.add(fingerprint(teacher_model(), split(seed=1)[0]))
    keys.add(fingerprint(teacher_model(), dataset.select(range(12))))
    one_weight = teacher_model()
    with torch.no_grad():
        one_weight.exits[0].classifier.bias[0] += 1e-6
    keys.add(fingerprint(one_weight, dataset))
    other_reads = teacher_model()
    other_reads.config.exit_reads = "mean"
    keys.add(fingerprint(other_reads, dataset))
    assert len(keys) == 6
    assert fingerprint(teacher_model(), dataset) in keys
    assert build(tmp_path).folder != build(tmp_path, teacher_model(1)).folder


def test_an_exit_policy_does_not_change_the_teacher():
    dataset, _ = split()
    model = teacher_model()
    before = fingerprint(model, dataset)
    model.set_exit_policy({"name": "entropy", "threshold": 0.1})
    assert fingerprint(model, dataset) == before


def test_computed_under_autocast_the_answers_are_those_of_asking_under_autocast(tmp_path):
    model, (dataset, _) = teacher_model(), split()
    cached, plain = build(tmp_path, model, autocast=torch.bfloat16, batch_size=13), build(tmp_path, model)
    assert cached.folder != plain.folder
    batch = collate([dataset[i] for i in range(13)])
    with torch.autocast("cpu", torch.bfloat16):
        asked = LiveTeacher(model)(batch, hidden_states=True)
    ours = cached(batch, hidden_states=True)
    assert torch.equal(ours.exit_logits, asked.exit_logits.float())
    mask = batch["attention_mask"].bool()
    for one, other in zip(ours.hidden_states, asked.hidden_states, strict=True):
        assert torch.equal(one[mask], other.float()[mask])
    # Else the two would be told apart by their folders alone.
    assert not torch.equal(ours.exit_logits, plain(batch).exit_logits)


def test_dropout_has_no_part_and_the_callers_autocast_neither(tmp_path):
    model = teacher_model().train()
    with torch.autocast("cpu", torch.bfloat16):
        cached = build(tmp_path, model)
    dataset, _ = split()
    batch = collate([dataset[i] for i in range(13)])
    torch.testing.assert_close(
        cached(batch).exit_logits, LiveTeacher(teacher_model())(batch).exit_logits, rtol=1e-5, atol=1e-6
    )


def test_a_cache_without_its_marker_or_cut_short_is_not_used(tmp_path):
    cache = build(tmp_path)
    (cache.folder / "complete.json").rename(cache.folder / "moved")
    with pytest.raises(RunError, match="not a complete teacher cache"):
        CachedTeacher(cache.folder)
    (cache.folder / "moved").rename(cache.folder / "complete.json")
    with (cache.folder / "hidden.bin").open("r+b") as stream:
        stream.truncate(100)
    with pytest.raises(RunError, match="not a complete teacher cache"):
        CachedTeacher(cache.folder)


def test_a_killed_writer_leaves_nothing_that_is_used(tmp_path):
    code = (
        "import sys, os, pathlib; sys.path[:0] = [%r, '.']; import test_cache as t\n"
        "t.build(pathlib.Path(%r), batch_size=2, advance=lambda n: os.kill(os.getpid(), 9))\n"
    )
    here = str(__import__("pathlib").Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", code % (here, str(tmp_path))], check=False)
    assert done.returncode == -9
    assert not list(tmp_path.glob("*/complete.json"))
    cache = build(tmp_path)
    assert json.loads((cache.folder / "complete.json").read_text())["key"] == cache.key
    assert [p.name for p in tmp_path.iterdir()] == [cache.folder.name]


def test_no_room_is_said_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "free_bytes", lambda folder: 1000)
    with pytest.raises(RunError, match="free") as caught:
        build(tmp_path)
    assert "cache: off" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_batch_of_other_examples_is_noticed(tmp_path):
    dataset, _ = split()
    cached = build(tmp_path)
    batch = collate([dataset[0], dataset[1]])
    batch["index"] = torch.tensor([0, int(np.argmax(split()[1]))])
    batch["attention_mask"][1, -1] = 0
    with pytest.raises(ValueError, match="in the cache"):
        cached(batch, hidden_states=True)
