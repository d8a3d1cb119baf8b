"""Pruning inside of ``transformers.Trainer``: as a loop by hand, and killed and resumed to the same bits."""

from __future__ import annotations

import copy
import json
import pickle
from types import SimpleNamespace

import pytest
import torch
from families import task_model
from pruning_toys import images, small_cnn
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainerCallback, TrainingArguments, get_scheduler, set_seed

import prunekit
from prunekit.errors import BudgetError, CheckpointError, PrunekitError

PARTS = ["heads", "neurons", "rank"]
BUDGET = {"name": "sizes", "heads": 2, "neurons": 20, "rank": 9}


class Examples(torch.utils.data.Dataset):
    """Sequences of 7 random tokens; the label is whether the first is below 45."""

    def __init__(self, count=40):
        ids = torch.randint(5, 90, (count, 7), generator=torch.Generator().manual_seed(3))
        self.rows = [{"input_ids": row, "labels": int(row[0] < 45)} for row in ids]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return dict(self.rows[index])


class Stop(TrainerCallback):
    """Breaks off after so many optimizer steps, as a kill would."""

    def __init__(self, at):
        self.at = at

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.at:
            raise KeyboardInterrupt


def callback(**options):
    settings = {"budget": BUDGET, "steps": 3, "every": 4, "start": 3, "score_batches": 2}
    return prunekit.PruningCallback(PARTS, **(settings | options))


def trainer(folder, *callbacks, model=None, **options):
    settings = {
        "per_device_train_batch_size": 4,
        "max_steps": 16,
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
        "save_steps": 5,
        "logging_steps": 1,
        "seed": 5,
    }
    args = TrainingArguments(folder, use_cpu=True, report_to=[], disable_tqdm=True, **(settings | options))
    set_seed(5)
    return Trainer(
        task_model("bert") if model is None else model,
        args,
        train_dataset=Examples(),
        eval_dataset=Examples(8),
        callbacks=list(callbacks),
    )


def same_bits(one, other):
    mine, theirs = one.model.state_dict(), other.model.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    mine, theirs = (t.optimizer.state_dict() for t in (one, other))
    assert mine["param_groups"] == theirs["param_groups"]
    assert mine["state"].keys() == theirs["state"].keys()
    for index, state in mine["state"].items():
        assert all(torch.equal(value, theirs["state"][index][key]) for key, value in state.items())


@pytest.mark.parametrize("accumulation", [1, 3])
def test_as_a_loop_written_by_hand(tmp_path, accumulation):
    """Data order from a second Trainer; scores, cuts, clipping, schedule and optimizer by hand."""
    options = {"gradient_accumulation_steps": accumulation, "max_steps": 10}
    pruning = callback(steps=2)
    trained = trainer(tmp_path / "a", pruning, **options)
    trained.loss_is_scaled_for_ga = False  # BERT gives the mean of a batch
    trained.train()

    hand = trainer(tmp_path / "b", **options)
    model, loader, data = hand.model.train(), hand.get_train_dataloader(), Examples()
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.01},
        {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, fused=True)
    schedule = get_scheduler("linear", optimizer, 0, 10)
    pruner = prunekit.Pruner(model, PARTS, budget=BUDGET, steps=2)
    set_seed(5)
    step, epoch, sizes = 0, 0, []
    while step < 10:
        loader.set_epoch(epoch)
        batches = list(loader)
        for at in range(0, len(batches), accumulation):
            if step == 10:
                break
            optimizer.zero_grad()
            chunk = batches[at : at + accumulation]
            for batch in chunk:
                (model(**batch).loss / len(chunk)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
            if step in (3, 7):
                rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(5 + step))[:8]
                chosen = [hand.data_collator([data[i] for i in part.tolist()]) for part in rows.split(4)]
                pruner.score(chosen, loss=lambda model, batch: model(**batch).loss)
                pruner.step(optimizer=optimizer)
                sizes.append([g.size for g in pruner.groups])
        epoch += 1
    assert sizes[-1] == [2, 2, 2, 20, 20, 20, 9] == [g.size for g in pruning.pruner.groups]
    assert sizes[0] != sizes[1]
    for name, value in trained.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


@pytest.mark.parametrize("at", [6, 10, 12])
def test_killed_and_resumed_to_the_same_bits(tmp_path, at):
    """Checkpoints are at 5, 10 and 15, cuts at 3, 7 and 11; the resumed model is as it was before pruning."""
    whole = trainer(tmp_path / "whole", callback())
    whole.train()
    killed = trainer(tmp_path / "killed", callback(), Stop(at))
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    resumed = trainer(tmp_path / "killed", pruning := callback())
    resumed.train(resume_from_checkpoint=True)
    assert pruning.pruner.done and resumed.state.global_step == 16
    same_bits(whole, resumed)
    losses = [[row["loss"] for row in t.state.log_history if "loss" in row] for t in (whole, resumed)]
    assert losses[0] == losses[1] and len(losses[0]) == 16


def test_resumed_with_a_model_of_the_checkpoints_size(tmp_path):
    whole = trainer(tmp_path / "whole", callback())
    whole.train()
    killed = trainer(tmp_path / "killed", callback(), Stop(6))
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    resumed = trainer(tmp_path / "killed", callback(), model=copy.deepcopy(killed.model))
    resumed.train(resume_from_checkpoint=True)
    same_bits(whole, resumed)


def test_resumed_from_weights_in_several_files(tmp_path):
    whole = trainer(tmp_path, callback())
    whole.train()
    stopped = trainer(tmp_path / "stopped", callback(), Stop(10))
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    folder = tmp_path / "checkpoint-10"
    (folder / "model.safetensors").unlink()
    stopped.model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    resumed = trainer(tmp_path, callback())
    resumed.train(resume_from_checkpoint=str(folder))
    same_bits(whole, resumed)


def test_resumed_with_accumulation_epochs_and_an_earlier_checkpoint(tmp_path):
    options = {"gradient_accumulation_steps": 2, "max_steps": -1, "num_train_epochs": 3, "save_steps": 2}
    budget = {"name": "target", "parameters": "2x", "distribution": "global"}
    settings = {"budget": budget, "unit": "epochs", "every": 0.8, "start": 0.4}
    whole = trainer(tmp_path, callback(**settings), **options)
    whole.train()
    again = trainer(tmp_path, callback(**settings), **options)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    same_bits(whole, again)
    saved = json.loads((tmp_path / "checkpoint-4" / "trainer_state.json").read_text(encoding="utf-8"))
    assert saved["stateful_callbacks"]["prunekit"]["steps_done"] == 1  # at 2, 6 and 10 of 15
    size = sum(p.numel() for p in again.model.parameters())
    assert size <= sum(p.numel() for p in task_model("bert").parameters()) / 2


def test_before_training_and_without_data(tmp_path):
    pruning = callback(scorer="magnitude", start=0, steps=1)
    trained = trainer(tmp_path, pruning, max_steps=1)
    expected = task_model("bert")
    prunekit.Pruner(expected, PARTS, "magnitude", budget=BUDGET).step()
    trained.train()
    assert {n: p.shape for n, p in trained.model.named_parameters()} == {
        n: p.shape for n, p in expected.named_parameters()
    }


def test_channels_resume_too(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = small_cnn()

        def forward(self, pixels, labels=None):
            logits = self.net(pixels)
            if labels is None:
                return logits
            return {"loss": cross_entropy(logits, labels), "logits": logits}

    rows = [{"pixels": image, "labels": i % 3} for i, image in enumerate(images(24))]

    def make(*more):
        channels = {"name": "channels", "example_inputs": images(2)}
        pruning = prunekit.PruningCallback(
            channels,
            budget={"name": "ratio", "keep": 0.5},
            steps=2,
            every=3,
            score_batches=2,
            loss=lambda model, batch: model(**batch)["loss"],
        )
        args = TrainingArguments(
            tmp_path, use_cpu=True, report_to=[], disable_tqdm=True, max_steps=8, save_steps=4,
            per_device_train_batch_size=4,
        )  # fmt: skip
        return Trainer(Net(), args, train_dataset=rows, callbacks=[pruning, *more])

    whole = make()
    whole.train()
    resumed = make()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    same_bits(whole, resumed)
    assert resumed.model.net.inner.out_channels == 5


def test_the_best_model_is_one_of_the_last_size(tmp_path):
    trained = trainer(
        tmp_path,
        callback(),
        load_best_model_at_end=True,
        eval_strategy="steps",
        eval_steps=5,
        metric_for_best_model="loss",
    )
    trained.train()
    assert trained.state.best_model_checkpoint.endswith("checkpoint-15")


def test_the_trainers_own_loss(tmp_path):
    seen = []

    class Weighted(Trainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            seen.append(model.training)
            return super().compute_loss(model, inputs, *args, **kwargs)

    box = SimpleNamespace()
    pruning = callback(loss=lambda model, batch: box.trainer.compute_loss(model, batch), steps=1)
    args = TrainingArguments(tmp_path, use_cpu=True, report_to=[], disable_tqdm=True, max_steps=4)
    box.trainer = Weighted(task_model("bert"), args, train_dataset=Examples(), callbacks=[pruning])
    box.trainer.train()
    assert seen.count(False) == 2 and pruning.pruner.done


def test_what_cannot_be_done_is_said_before_training(tmp_path):
    with pytest.raises(PrunekitError, match=r"last of 3 steps is due after 11 .* training ends after 9"):
        trainer(tmp_path, callback(), max_steps=9).train()
    with pytest.raises(BudgetError, match="cannot keep 9"):
        trainer(tmp_path, callback(budget={"name": "sizes", "heads": 9})).train()
    with pytest.raises(PrunekitError, match=r"PruningCallback\.every: 0 is not above 0"):
        callback(every=0)
    with pytest.raises(PrunekitError, match=r"'steps' or 'epochs' was expected"):
        callback(unit="batches")
    state = SimpleNamespace(max_steps=20, global_step=0, stateful_callbacks={})
    several = SimpleNamespace(world_size=2, deepspeed=None, fsdp=None)
    with pytest.raises(PrunekitError, match="several processes"):
        callback().on_train_begin(several, state, None, model=task_model("bert"))


def test_a_checkpoint_of_before_is_not_loaded_into_what_was_pruned_since(tmp_path):
    stopped = trainer(tmp_path, callback(), Stop(8))
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    words = r"(?s)layers\.0\.neurons has 29 units in the model and 39 in the checkpoint.*fresh model"
    with pytest.raises(CheckpointError, match=words):
        stopped.train(resume_from_checkpoint=True)


def test_the_model_can_be_copied_and_pickled(tmp_path):
    trained = trainer(tmp_path, callback(loss=lambda model, batch: model(**batch).loss), max_steps=12)
    trained.train()
    for twin in (copy.deepcopy(trained.model), pickle.loads(pickle.dumps(trained.model))):
        twin.load_state_dict(trained.model.state_dict())
