"""StageTrainer against a plain PyTorch loop, and its checkpoints."""

import math
from pathlib import Path

import pytest
import torch
from tiny import tiny_recipe
from transformers import get_linear_schedule_with_warmup

from prunekit.data import encode, load_task
from prunekit.exits import MultiExitForSequenceClassification
from prunekit.models import load_backbone, load_tokenizer
from prunekit.stages.base import StageContext
from prunekit.stages.metrics import MetricsLog
from prunekit.stages.training import checkpoints
from prunekit.stages.training.fit import Fitter
from prunekit.stages.training.objectives import Objective, truth
from prunekit.stages.training.trainer import StageTrainer


def make_context(folder, **training):
    recipe = tiny_recipe(folder, training=training, model={"name": "builtin:small-encoder", "config": {
        "num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 32,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    }}, exits={"dropout": 0.0})  # fmt: skip
    data = load_task(recipe.data, recipe.seed)
    tokenizer = load_tokenizer(recipe.model, list(data.train["text"]))
    task = encode(data, tokenizer, 128)
    (folder / "stage").mkdir()
    log = MetricsLog(folder / "metrics.jsonl")
    cache = folder / "cache"
    return StageContext("finetune", folder / "stage", folder, recipe, task, tokenizer, {}, log, cache)


def make_model(context, dropout=0.0):
    torch.manual_seed(0)
    backbone = load_backbone(context.recipe.model, len(context.tokenizer))
    return MultiExitForSequenceClassification.from_backbone(backbone, num_labels=2, dropout=dropout)


def fit(context, model, **options):
    options = {"phase": "train", "learning_rate": 1e-3, "epochs": 2, **options}
    return Fitter(context).fit(model, Objective([truth()]), **options)


@pytest.mark.parametrize(("accumulation", "of_exits"), [(1, None), (2, None), (1, 2e-2)])
def test_training_is_the_plain_loop(tmp_path, accumulation, of_exits):
    context = make_context(tmp_path, gradient_accumulation=accumulation)
    trained = make_model(context)
    fit(context, trained, select_best=False, gradient_equilibrium=True, exits_learning_rate=of_exits)

    model, fitter = make_model(context), Fitter(context)
    groups = [
        {
            "params": [parameter],
            "weight_decay": 0.0 if name.endswith("bias") or "LayerNorm" in name else 0.01,
            "lr": of_exits if of_exits and name.startswith("exits.") else 1e-3,
        }
        for name, parameter in model.named_parameters()
    ]
    optimizer = torch.optim.AdamW(groups)
    steps = 2 * fitter.steps_per_epoch
    assert fitter.steps_per_epoch == math.ceil(math.ceil(100 / 16) / accumulation)
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(0.1 * steps), steps)
    sampler = fitter._sampler("train")
    model.train()
    model.gradient_equilibrium = True
    for epoch in range(2):
        order = sampler.order(epoch)
        batches = [order[i : i + 16] for i in range(0, 100, 16)]
        for begin in range(0, len(batches), accumulation):
            together = batches[begin : begin + accumulation]
            for rows in together:
                loss = Objective([truth()])(model, fitter.collate([fitter.train_rows[int(r)] for r in rows]))
                (loss / len(together)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    for (name, ours), theirs in zip(trained.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_the_best_weights_are_kept(tmp_path):
    context = make_context(tmp_path)
    fitter, seen = Fitter(context), []
    scores = iter([0.5, 0.9, 0.7, 0.9])

    def validate(model):
        seen.append({n: p.detach().clone() for n, p in model.named_parameters()})
        return {"score": next(scores), "last": 0.0}

    fitter.validate = validate
    model = make_model(context)
    result = fitter.fit(model, Objective([truth()]), phase="train", learning_rate=1e-3, epochs=4)
    assert (result.score, result.best_step, result.steps) == (0.9, 14, 28)
    for name, weights in model.named_parameters():
        assert torch.equal(weights, seen[1][name])
        assert not name.endswith("classifier.weight") or not torch.equal(weights, seen[3][name])


class Stop(Exception):
    pass


def test_stopped_in_every_phase_of_saving_it_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    unbroken = make_context(tmp_path / "a", checkpoint_seconds=1e9)
    whole = make_model(unbroken, dropout=0.3)
    rates = {"exits_learning_rate": 2e-2}  # the optimizer's groups are then made anew
    expected = fit(unbroken, whole, **rates)

    broken = make_context(tmp_path / "b", checkpoint_seconds=0)
    places = [
        (StageTrainer, "_save_optimizer_and_scheduler", 2),
        (checkpoints, "mark_complete", 2),
        (checkpoints, "remove_others", 3),
        (StageTrainer, "evaluate", 1),
        (StageTrainer, "training_step", 3),
    ]
    for owner, name, calls in places:
        with monkeypatch.context() as patch:
            original, left = getattr(owner, name), [calls]

            def stop(*args, _original=original, _left=left, **kwargs):
                _left[0] -= 1
                if _left[0] == 0:
                    raise Stop
                return _original(*args, **kwargs)

            patch.setattr(owner, name, stop)
            with pytest.raises(Stop):
                fit(broken, make_model(broken, dropout=0.3), **rates)
    model = make_model(broken, dropout=0.3)
    assert fit(broken, model, **rates) == expected
    for (name, ours), theirs in zip(model.named_parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_training_that_has_ended_is_not_taken_further(tmp_path):
    context = make_context(tmp_path)
    first, second = make_model(context), make_model(context)
    # The last step is the best one, so that its checkpoint is there.
    fitter = Fitter(context)
    scores = iter([0.1, 0.2])
    fitter.validate = lambda model: {"score": next(scores), "last": 0.0}
    result = fitter.fit(first, Objective([truth()]), phase="train", learning_rate=1e-3, epochs=1.5)
    assert result.best_step == result.steps == 11
    again = fitter.fit(second, Objective([truth()]), phase="train", learning_rate=1e-3, epochs=1.5)
    assert again == result
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_dropout_is_on_while_training_and_off_when_it_ends(tmp_path):
    context = make_context(tmp_path)
    with_dropout, without = make_model(context, dropout=0.5), make_model(context)
    fit(context, with_dropout, select_best=False)
    Fitter(context).clean()
    fit(context, without, select_best=False)
    assert not with_dropout.training and not with_dropout.gradient_equilibrium
    assert not torch.equal(with_dropout.exits[0].classifier.weight, without.exits[0].classifier.weight)


def test_no_epochs_no_steps(tmp_path):
    context = make_context(tmp_path)
    model = make_model(context)
    before = [p.clone() for p in model.parameters()]
    assert fit(context, model, epochs=0).steps == 0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def _folder(root: Path, step: int, whole: bool) -> Path:
    path = root / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"x")
    if whole:
        checkpoints.mark_complete(path)
    return path


def test_incomplete_checkpoints_are_removed_and_the_newest_whole_one_found(tmp_path):
    _folder(tmp_path, 9, True)
    newest = _folder(tmp_path, 10, True)
    left_by_a_kill = _folder(tmp_path, 11, False)
    assert checkpoints.last_complete(tmp_path) == newest
    assert not left_by_a_kill.exists()
    assert checkpoints.last_complete(tmp_path / "none") is None


def test_only_the_last_and_the_best_stay(tmp_path):
    for step in (1, 2, 3, 4):
        _folder(tmp_path, step, True)
    checkpoints.remove_others(tmp_path, {2, 4})
    assert list(checkpoints.checkpoints(tmp_path)) == [2, 4]
