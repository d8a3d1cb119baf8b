"""The whole pipeline on a tiny recipe."""

import json

import pytest
import torch
from pydantic import ValidationError
from tiny import apply, tiny_recipe
from transformers import AutoTokenizer

import prunekit
from prunekit.architectures import shape_of
from prunekit.checkpoints import load
from prunekit.data import load_task
from prunekit.distill import prediction_loss
from prunekit.errors import BudgetError, TrainingError
from prunekit.planning import plan
from prunekit.reports import read_report
from prunekit.runs import Run
from prunekit.stages import pipeline, run_recipe
from prunekit.stages.metrics import MetricsLog
from prunekit.stages.recover import RecoverConfig


def test_every_stage_leaves_its_model_and_its_mark(tiny_run):
    for stage in ("1-finetune", "2-assistant", "3-slenderize", "4-recover", "5-evaluate"):
        done = json.loads((tiny_run / "stages" / stage / "done.json").read_text())
        assert all((tiny_run / path / "model.safetensors").is_file() for path in done["models"].values())
        assert not (tiny_run / "stages" / stage / "work").exists()
        assert not list((tiny_run / "stages" / stage).glob("parts/*"))
    assert (tiny_run / "done.json").is_file()
    assert not (tiny_run / "cache").exists()


def test_the_original_has_one_exit_and_the_assistant_all(tiny_run):
    assert load(tiny_run / "stages/1-finetune/model").config.exit_layers == [2]
    assert load(tiny_run / "stages/2-assistant/model").config.exit_layers == [1, 2]


def test_the_model_has_the_sizes_that_were_asked_for(tiny_run):
    shape = shape_of(load(tiny_run / "model").backbone)
    assert [layer.num_attention_heads for layer in shape.layers] == [2, 2]
    assert [layer.intermediate_size for layer in shape.layers] == [16, 16]
    assert shape.embedding_rank == 8
    assert shape.hidden_size == 16


def test_sizes_fall_step_by_step_and_are_in_the_metrics(tiny_run):
    records = MetricsLog(tiny_run / "metrics.jsonl").records("slenderize", "sizes")
    assert [r["step"] for r in records] == [1, 2]  # heads 4 -> 2, one each step
    assert [r["sizes"]["layers.0.heads"] for r in records] == [3, 2]
    assert [r["sizes"]["layers.1.neurons"] for r in records] == [24, 16]
    for record in records:
        assert {name: len(kept) for name, kept in record["kept"].items()} == record["sizes"]


def test_metrics_tell_losses_by_part_and_scores_by_exit(tiny_run):
    log = MetricsLog(tiny_run / "metrics.jsonl")
    parts = {(r["stage"], r["phase"]): set(r["loss"]) for r in log.records(kind="train")}
    assert parts["finetune", "train"] == {"ground truth"}
    assert parts["assistant", "train"] == {"ground truth", "predictions"}
    assert parts["recover", "features"] == {"features"}
    assert parts["recover", "predictions"] == {"features", "predictions"}
    for record in log.records("assistant", "evaluate"):
        assert len(record["accuracy"]) == 2
        assert record["score"] == pytest.approx(sum(record["accuracy"]) / 2)
    assert {r["stage"] for r in log.records(kind="stage")} == {
        "finetune", "assistant", "slenderize", "recover", "evaluate",
    }  # fmt: skip


def test_recovery_keeps_the_best_by_the_mean_over_exits(tiny_run):
    log = MetricsLog(tiny_run / "metrics.jsonl")
    scores = [r["score"] for r in log.records("recover", "evaluate") if r["phase"] == "predictions"]
    [features] = [r["score"] for r in log.records("recover", "part")]
    done = json.loads((tiny_run / "stages/4-recover/done.json").read_text())
    assert done["score"] == max([features, *scores])


def test_recovery_keeps_what_the_features_taught_where_the_predictions_ruin_it(tmp_path):
    stages = {"stages": ["finetune", "assistant", "slenderize", "recover"]}
    # One label for all, from every exit: worse than what two balanced classes have taught so far.
    ruin = {"epochs": 1, "features": 0, "predictions": 1, "temperature": 1, "learning_rate": 3.0}
    for name, recover in (("ruined", ruin), ("features", {"epochs": 0})):
        apply(tmp_path, name=name, finetune={"epochs": 6}, recover=recover, **stages)
    log = MetricsLog(tmp_path / "ruined" / "metrics.jsonl")
    [features] = [r["score"] for r in log.records("recover", "part")]
    assert features > max(r["score"] for r in log.records("recover", "evaluate"))
    done = json.loads((tmp_path / "ruined/stages/4-recover/done.json").read_text())
    assert done["score"] == features and done["best_step"] == 0
    one, other = (
        load(tmp_path / name / "stages/4-recover/model").state_dict() for name in ("ruined", "features")
    )
    assert list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


def test_recovery_may_train_the_exits_alone(tmp_path):
    stages = {"stages": ["finetune", "assistant", "slenderize", "recover"]}
    learned = {key: {"epochs": 8, "learning_rate": 1e-2} for key in ("finetune", "assistant")}
    alone = {"trains": "exits", "epochs": 8, "learning_rate": 3e-2}
    runs = [
        apply(tmp_path, name=name, recover=recover, **learned, **stages)
        for name, recover in (("features", {"epochs": 0}), ("exits", alone))
    ]
    before, after = (load(run / "stages/4-recover/model") for run in runs)
    one, other = before.backbone.state_dict(), after.backbone.state_dict()
    assert list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)
    # They say more nearly what the assistant says than the ones that followed the hidden states did.
    assistant = load(runs[1] / "stages/2-assistant/model")
    data = tiny_recipe(tmp_path)
    texts = load_task(data.data, data.seed).train["text"]
    tokenizer = AutoTokenizer.from_pretrained(runs[0] / "stages/4-recover/model")
    rows = tokenizer(list(texts), padding=True, return_tensors="pt")
    ids, mask = rows["input_ids"], rows["attention_mask"]
    said = [model(ids, mask, all_exits=True).exit_logits for model in (assistant, before, after)]
    losses = [prediction_loss(logits, said[0]).item() for logits in said]
    assert losses[0] < losses[2] < losses[1]


def test_exits_alone_learn_from_predictions_or_labels():
    with pytest.raises(ValidationError, match="exits alone learn from predictions or ground_truth"):
        RecoverConfig(trains="exits", predictions=0)
    assert RecoverConfig(trains="exits", predictions=0, ground_truth=1).trains == "exits"
    assert RecoverConfig(trains="exits", predictions=0, epochs=0).epochs == 0


def test_learning_rates_grow_from_interval_to_interval(tiny_run):
    log = MetricsLog(tiny_run / "metrics.jsonl")
    highest = [
        max(r["learning_rate"] for r in log.records("slenderize", "train") if r["phase"] == f"step-00{step}")
        for step in (1, 2)
    ]
    assert highest[1] / highest[0] == pytest.approx(1.12)


def test_the_folder_predicts_as_the_run_ended_and_the_report_tells_so(tiny_run):
    report = read_report(tiny_run / "report")
    model = load(tiny_run / "model")
    assert model.config.exit_policy == report.systems[0].evaluation.chosen.policy
    assert report.systems[0].figures.parameters == sum(p.numel() for p in model.parameters())
    assert [s.name for s in report.stages] == ["finetune", "assistant", "slenderize", "recover"]
    assert report.name in (tiny_run / "model/README.md").read_text()
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_run / "model")
    batch = tokenizer(["The food was good.", "I hated it"], padding=True, return_tensors="pt")
    auto = AutoModelForSequenceClassification.from_pretrained(tiny_run / "model").eval()
    assert torch.equal(auto(**batch).logits, prunekit.load(tiny_run / "model")(**batch).logits)


def test_the_plan_sets_the_model_against_what_the_report_does(tiny_run):
    report = read_report(tiny_run / "report")
    words = len(AutoTokenizer.from_pretrained(tiny_run / "model"))
    planned = plan(tiny_recipe(tiny_run.parent), vocab_size=words)
    for expected, figures in (
        (report.dense, planned.original),
        (report.systems[0].figures, planned.stages[-1].figures),
    ):
        assert (figures.parameters, figures.macs) == (expected.parameters, expected.macs)


def test_a_finished_run_is_not_touched(tiny_run):
    from prunekit.runs import Run
    from prunekit.stages import run_recipe

    before = {f: f.stat().st_mtime_ns for f in tiny_run.rglob("model.safetensors")}
    recipe = tiny_recipe(tiny_run.parent)
    with Run(recipe) as run:
        run_recipe(recipe, run)
    assert {f: f.stat().st_mtime_ns for f in tiny_run.rglob("model.safetensors")} == before


def test_a_target_larger_than_the_model_is_refused_before_slimming(tmp_path):
    with pytest.raises(BudgetError, match="heads"):
        apply(
            tmp_path,
            finetune={"epochs": 0.1}, assistant={"epochs": 0.1}, slenderize={"heads": 5},
            stages=["finetune", "assistant", "slenderize"],
        )  # fmt: skip


def test_a_budget_in_parameters_and_another_scorer(tmp_path):
    folder = apply(
        tmp_path,
        finetune={"epochs": 0.1}, assistant={"epochs": 0.1},
        slenderize={
            "heads": None, "neurons": None, "rank": None, "steps": 2, "interval_epochs": 0.1,
            "scorer": "magnitude",
            "budget": {"name": "target", "parameters": "2x"},
        },
        stages=["finetune", "assistant", "slenderize"],
    )  # fmt: skip
    dense, slim = (
        sum(p.numel() for p in load(folder / "stages" / s / "model").parameters())
        for s in ("2-assistant", "3-slenderize")
    )
    assert slim <= dense / 2 < slim * 1.1


def test_a_stage_has_the_threads_it_is_given_and_the_others_those_that_there_are(tmp_path, monkeypatch):
    seen, before = {}, pipeline._run_stage

    def look(context, *rest):
        seen[context.key] = torch.get_num_threads()
        before(context, *rest)

    monkeypatch.setattr(pipeline, "_run_stage", look)
    recipe = tiny_recipe(tmp_path, stages=["finetune", "assistant", "evaluate"])
    now = torch.get_num_threads()
    with Run(recipe) as run:
        run_recipe(recipe, run, threads={"assistant": now + 1})
    assert seen == {"finetune": now, "assistant": now + 1, "evaluate": now}
    assert torch.get_num_threads() == now


def test_a_loss_that_is_not_finite_says_where(tmp_path):
    with pytest.raises(TrainingError) as caught:
        apply(tmp_path, finetune={"learning_rate": 1e30}, stages=["finetune"])
    assert "finetune, train, step" in str(caught.value)
    assert "ground truth of exit 1 is nan" in str(caught.value)
    assert not (tmp_path / "tiny/stages/1-finetune/done.json").exists()


def test_a_full_recipe_with_every_option_of_the_assistant(tmp_path):
    folder = apply(
        tmp_path,
        finetune={"epochs": 0.5},
        assistant={"epochs": 0.5, "features_first_epochs": 0.5, "copy_last_exit": True, "temperature": 2.0},
        stages=["finetune", "assistant"],
    )
    phases = {r["phase"] for r in MetricsLog(folder / "metrics.jsonl").records("assistant", "train")}
    assert phases == {"features", "train"}


def test_half_a_model_of_a_killed_process_does_not_stay(tmp_path):
    """It was killed as it wrote the stage's model; the stage is done anew."""
    half = tmp_path / "tiny" / "stages" / "1-finetune" / ".model.x1_abcde" / "new" / "model.safetensors"
    recipe = tiny_recipe(tmp_path, stages=["finetune", "evaluate"])
    with Run(recipe):
        half.parent.mkdir(parents=True)
        half.write_bytes(b"half")
    with Run(recipe) as run:
        run_recipe(recipe, run)
    assert run.resumed and run.finished
    assert not list(run.folder.rglob(".model.*"))
