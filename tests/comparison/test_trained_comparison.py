"""What a comparison trains: each thing once, to the same bits, killed or not."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path

import comparing
import pytest
import torch
from comparing import COMPARE, apply, recipe_of, same_weights, weights

from prunekit import comparison
from prunekit.commands.compare import compare_sources
from prunekit.commands.plan import read_task
from prunekit.comparison import prefix_digests, sharing
from prunekit.distill import cache
from prunekit.errors import DataError, RecipeError, RunError
from prunekit.recipes import expand, load_recipe
from prunekit.reports import read_report
from prunekit.runs import Run
from prunekit.runs import recipe_of as recipe_made
from prunekit.stages import pipeline, run_recipe
from prunekit.stages.metrics import MetricsLog


@pytest.fixture
def trained(monkeypatch):
    """Stages that are really run from here on: (folder below the output, stage)."""
    ran, before = [], pipeline._run_stage

    def run_stage(context, recipe, done):
        ran.append((context.run_folder.name, context.key))
        before(context, recipe, done)

    monkeypatch.setattr(pipeline, "_run_stage", run_stage)
    return ran


def test_digests_agree_as_far_as_two_recipes_do(tmp_path):
    subject, hotter, joint = (run.candidates[0].recipe for run in expand(recipe_of(tmp_path))[:3])
    one, other, third = map(prefix_digests, (subject, hotter, joint))
    assert [a == b for a, b in zip(one, other, strict=True)] == [True, False, False]
    assert one[0] == third[0] and len({*one, *other, *third}) == 3 + 2 + 2
    # What does not decide the result does not count; what a stage before decided does.
    assert (
        prefix_digests(recipe_of(tmp_path / "else", None, training={"eval_batch_size": 3}, name="x")) == one
    )
    assert set(prefix_digests(recipe_of(tmp_path, None, finetune={"epochs": 2}))).isdisjoint(one)
    assert set(prefix_digests(recipe_of(tmp_path, None, seed=9))).isdisjoint(one)


def test_what_was_taken_over_is_there_whole(whole):
    output, _ = whole
    subject, hotter = output / "subject", output / "subject" / "compare" / "hotter"
    files = [
        {
            str(f.relative_to(run)): f.stat().st_ino
            for f in (run / "stages" / "1-finetune").rglob("*")
            if f.is_file()
        }
        for run in (subject, hotter)
    ]
    assert files[0] == files[1] and "stages/1-finetune/done.json" in files[0]  # one file under two names
    measured = [
        [
            {k: v for k, v in r.items() if k != "seconds"}
            for r in MetricsLog(run / "metrics.jsonl").records("finetune")
        ]
        for run in (subject, hotter)
    ]
    assert measured[0] == measured[1] and measured[0]
    stages = [read_report(run / "report").stages for run in (subject, hotter)]
    # The effort of a shared stage is the effort of each.
    assert stages[0][0] == stages[1][0] and stages[1][0].steps > 0
    assert not [p.name for p in output.rglob("stages/.*")]


def test_a_run_that_took_over_ends_in_the_bits_of_one_that_trained_all_itself(whole, tmp_path):
    _, done = whole
    assert len(done) == 6
    for one in done:
        if one.run.system == "subject":
            continue
        alone = one.recipe.model_copy(update={"output": str(tmp_path), "name": one.folder.name})
        with Run(alone) as run:
            run_recipe(alone, run)
        same_weights(one.folder, tmp_path / one.folder.name)


def test_the_grid_keeps_what_is_best_on_the_validation_examples(whole):
    from transformers import AutoTokenizer

    import prunekit
    from prunekit.data import load_task

    output, done = whole
    by_hand = []
    for folder in sorted((output / "subject" / "grid").iterdir()):
        recipe = load_recipe(folder / "recipe.yaml")
        assert recipe.stages == ["finetune", "joint"] and not (folder / "report").exists()
        model = prunekit.load(folder / "stages" / "2-joint" / "model").eval()
        tokenizer = AutoTokenizer.from_pretrained(folder / "stages" / "2-joint" / "model")
        right = []
        for example in load_task(recipe.data, recipe.seed).validation:
            with torch.no_grad():
                said = model(**tokenizer(example["text"], return_tensors="pt"), all_exits=True).exit_logits
            right.append((said.argmax(-1)[:, 0] == example["label"]).float())
        by_hand.append((torch.stack(right).mean().item(), recipe.config("joint").learning_rate))
        told = json.loads((folder / "validation.json").read_text())["score"]
        assert told == pytest.approx(by_hand[-1][0], abs=1e-6)
    assert len(by_hand) == 2 and by_hand[0][0] != by_hand[1][0]
    kept = {one.recipe.config("joint").learning_rate for one in done if one.run.system == "joint"}
    assert kept == {max(by_hand)[1]}
    report = read_report(output / "subject" / "report")
    assert [system.tried for system in report.comparison.systems] == [1, 1, 2]
    assert any(f"joint.learning_rate {max(by_hand)[1]}" in note for note in report.comparison.notes)


RATES = [1e-6, 3e-2]


def _scores(folder):
    """Validation score of each trial, in the order of the grid."""
    return [
        json.loads((trial / "validation.json").read_text())["score"] for trial in sorted(folder.iterdir())
    ]


def test_the_recipes_own_grid_tunes_its_own_run(tmp_path, trained):
    grid = {"assistant.learning_rate": RATES}
    # This one is what the grid does not keep, whichever that is.
    same = {f"fixed{number}": {"assistant": {"learning_rate": rate}} for number, rate in enumerate(RATES, 1)}
    asked = {"grid": grid, "seeds": [7, 8], "systems": same}
    done = apply(tmp_path, asked)
    subject = tmp_path / "subject"
    scores = _scores(subject / "grid")
    best = max(range(2), key=scores.__getitem__)
    assert scores[0] != scores[1]
    assert json.loads((subject / "kept.json").read_text())["settings"] == {
        "assistant.learning_rate": RATES[best]
    }
    own = [one for one in done if one.run.subject]
    assert [one.recipe.config("assistant").learning_rate for one in own] == [RATES[best]] * 2
    assert [one.tried for one in own] == [2, 2]
    assert read_report(subject / "report").recipe["assistant"]["learning_rate"] == RATES[best]
    assert recipe_made(subject).config("assistant").learning_rate == RATES[best]
    # Each stage is that of its settings, though the run could have come to be made with the others.
    for number in (1, 2):
        trial, fixed = subject / "grid" / f"own-{number}", subject / "compare" / f"fixed{number}"
        same_weights(trial / "stages", fixed / "stages")
    same_weights(subject / "stages", subject / "grid" / f"own-{best + 1}" / "stages")
    assert (
        trained.count(("subject", "assistant")) == 0 and len([s for _, s in trained if s == "assistant"]) == 4
    )
    trained.clear()
    apply(tmp_path, asked)
    assert trained == []


@pytest.mark.parametrize("better", [False, True])
def test_a_grid_that_is_added_later_moves_aside_what_it_does_not_keep(tmp_path, trained, better):
    apply(tmp_path / "try", {"grid": {"assistant.learning_rate": RATES}})
    scores = _scores(tmp_path / "try" / "subject" / "grid")
    rates = sorted(RATES, key=lambda rate: scores[RATES.index(rate)])
    first = rates[1 if better else 0]
    apply(tmp_path, {"seeds": [7, 8]}, assistant={"learning_rate": first})
    subject, aside = tmp_path / "subject", tmp_path / "subject.1"
    again, again_aside = subject / "compare" / "own-8", subject / "compare" / "own-8.1"
    before, before_again = weights(subject / "stages"), weights(again)
    report = (subject / "report" / "report.json").read_bytes()
    trained.clear()
    asked = {"seeds": [7, 8], "grid": {"assistant.learning_rate": rates}}
    apply(tmp_path, asked, assistant={"learning_rate": first})
    # What the run was made with before is one of the settings, and is not trained again.
    number = rates.index(first) + 1
    new = [] if better else ["own-8"]
    assert [run for run, stage in trained if stage == "assistant"] == [f"own-{3 - number}", *new]
    for folder in (subject, again):
        assert recipe_made(folder).config("assistant").learning_rate == rates[1]
    assert [folder.exists() for folder in (aside, again_aside)] == [not better] * 2
    if not better:
        for folder, there in ((aside / "stages", before), (again_aside, before_again)):
            moved = weights(folder)
            assert list(moved) == list(there) and all(torch.equal(moved[key], there[key]) for key in there)
        assert (aside / "report" / "report.json").read_bytes() == report and (aside / "done.json").exists()
        with Run(recipe_of(tmp_path, None, name="subject.1", assistant={"learning_rate": first})) as run:
            assert run.finished  # it is a run like any other
    # The report is written anew where it was tried and kept alike.
    (system,) = read_report(subject / "report").comparison.systems
    assert system.tried == 2
    # Renamed, it knows what was tried, and has its other seeds.
    trained.clear()
    subject.rename(tmp_path / "renamed")
    compare_sources([str(tmp_path / "renamed")], output=None)
    assert trained == []


def test_what_a_grid_has_chosen_is_not_taken_for_what_the_recipe_says(tmp_path, trained):
    """A grid of one value chooses it; without the grid the run is another than the recipe's."""
    apply(tmp_path, {"grid": {"assistant.learning_rate": [2e-3]}})
    assert recipe_made(tmp_path / "subject").config("assistant").learning_rate == 2e-3
    other = {"systems": {"other": {"assistant": {"temperature": 2}}}}
    with pytest.raises(
        RunError, match=r"made with another recipe.*\n.*learning_rate: 0.002 there, 0.001 now"
    ):
        apply(tmp_path, other)
    # A recipe that says what was chosen is the run's; so is the run itself, compared without its grid.
    apply(tmp_path, other, assistant={"learning_rate": 2e-3})
    compare_sources([str(tmp_path / "subject"), "compare.grid=null"], output=None)
    assert [key for key in trained if key[0] == "subject"] == [
        ("subject", stage) for stage in ("finetune", "assistant", "evaluate")
    ]
    settings = [system.settings for system in read_report(tmp_path / "subject" / "report").comparison.systems]
    assert settings[0]["assistant"]["learning_rate"] == 2e-3


def test_killed_while_moving_aside_what_is_not_kept(tmp_path, monkeypatch):
    """Every renaming is the last thing that happens, in turn."""
    for last in range(20):
        folder = tmp_path / "subject"
        for made in tmp_path.iterdir():
            shutil.rmtree(made)
        recipe = recipe_of(tmp_path, {"grid": {"assistant.temperature": [1, 3]}})
        other = recipe_of(tmp_path, None, assistant={"temperature": 3})
        with Run(recipe) as run:
            for name in ("stages/1-finetune", "model", "report"):
                (folder / name).mkdir(parents=True)
                (folder / name / "file").write_text(name)
            (folder / "metrics.jsonl").write_text("")
            run.finish()
            (folder / "run.json").write_text('{"command": "made it"}')
        made = {file.relative_to(folder) for file in folder.rglob("*") if file.is_file()}
        calls = []

        def counted(self, target, last=last, calls=calls, rename=Path.rename):
            if len(calls) == last:
                raise Killed
            calls.append(target)
            return rename(self, target)

        killed = False
        with monkeypatch.context() as patched, Run(recipe) as run:
            patched.setattr(Path, "rename", counted)
            try:
                run.keep(other, {"assistant.temperature": 3})
            except Killed:
                killed = True
        if killed:
            with Run(recipe) as run:
                run.keep(other, {"assistant.temperature": 3})
        aside = tmp_path / "subject.1"
        assert {file.relative_to(aside) for file in aside.rglob("*")} >= made - {Path(".lock")}
        assert (aside / "run.json").read_text() == '{"command": "made it"}'
        assert run.info()["command"] == "made it" and "created" in run.info()
        assert recipe_made(aside).resolved() == {**recipe.resolved(), "compare": None}
        assert {file.name for file in folder.iterdir()} == {".lock", "recipe.yaml", "run.json", "kept.json"}
        assert (
            recipe_made(folder).config("assistant").temperature == 3 and not (tmp_path / "subject.2").exists()
        )
        if not killed:
            break
    assert last > 5


def test_the_report_of_the_subject_holds_the_comparison(whole):
    output, _ = whole
    report = read_report(output / "subject" / "report")
    compared = report.comparison
    assert compared.subject == report.name == "subject"
    assert [(s.name, s.label) for s in compared.systems] == [
        ("subject", "subject"),
        ("hotter", "Hot"),
        ("joint", "joint"),
    ]
    (task,) = compared.tasks
    assert task.seeds == [7, 8] and task.examples == 30
    for row in task.rows:
        system = compared.system(row.system)
        assert len(system.runs) == 2 and row.seeds == [7, 8]
        for folder, score in zip(system.runs, row.scores["accuracy"].values, strict=True):
            own = read_report(Path(folder) / "report").systems[0]
            assert score == own.evaluation.chosen.all.scores["accuracy"]
        # 100 examples in batches of 16 are 7 steps an epoch, and all have trained for two.
        assert system.steps.values == [14, 14] and all(s > 0 for s in system.seconds.values)
        assert system.backbone == "builtin:small-encoder (random weights)"
    assert any("trained once" in note for note in compared.notes)


def test_shared_stages_are_trained_once_and_a_system_added_later_trains_only_itself(tmp_path, trained):
    apply(tmp_path, {**COMPARE, "seeds": [7]})
    assert trained == [
        ("subject", "finetune"), ("subject", "assistant"), ("subject", "evaluate"),
        ("hotter", "assistant"), ("hotter", "evaluate"),
        ("joint-1", "joint"), ("joint-2", "joint"), ("joint", "evaluate"),
    ]  # fmt: skip
    before = {
        p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.name in ("model.safetensors", "report.json")
    }
    trained.clear()
    apply(tmp_path, {**COMPARE, "seeds": [7]})
    assert trained == [] and {p: p.stat().st_mtime_ns for p in before} == before
    late = {"systems": {**COMPARE["systems"], "late": {"assistant": {"temperature": 9}}}}
    apply(tmp_path, late)
    assert trained == [("late", "assistant"), ("late", "evaluate")]
    report = tmp_path / "subject" / "report" / "report.json"
    assert {p for p, made in before.items() if p.stat().st_mtime_ns != made} == {report}
    # The run knows now what it is compared with.
    assert list(load_recipe(tmp_path / "subject" / "recipe.yaml").compare.systems) == [
        "hotter",
        "joint",
        "late",
    ]
    assert len(read_report(report).comparison.systems) == 4
    changed = {"systems": {"late": {"assistant": {"temperature": 5}}}}
    with pytest.raises(
        RunError, match=r"compare/late was made with another recipe.*\n.*temperature: 9.0"
    ) as caught:
        apply(tmp_path, changed)
    assert "another name in compare.systems" in caught.value.mend
    # Stages of systems that it is not compared with any more are there to be taken over.
    trained.clear()
    apply(
        tmp_path,
        {"systems": {"hotter-still": {"assistant": {"temperature": 9}, "evaluate": {"max_drop": 0.2}}}},
    )
    assert trained == [("hotter-still", "evaluate")]
    same_weights(*(tmp_path / "subject" / "compare" / name / "model" for name in ("late", "hotter-still")))


def test_what_several_runs_ask_a_teacher_it_answers_once(tmp_path, monkeypatch):
    written, before = [], cache._write

    def write(model, dataset, lengths, collate, folder, *others):
        written.append(folder)
        before(model, dataset, lengths, collate, folder, *others)

    monkeypatch.setattr(cache, "_write", write)
    taught = {"teacher": "original", "epochs": 1, "features_epochs": 0}
    stages = ["finetune", "student", "recover", "evaluate"]
    systems = {"hotter": {"recover": {"temperature": 4}}}
    done = apply(
        tmp_path, {"seeds": [7, 8], "systems": systems}, stages=stages, student={"neurons": 8}, recover=taught
    )
    assert len(done) == 4
    # One for each seed, and nothing of them is left.
    assert [folder.parent.name for folder in written] == ["reviews-7", "reviews-8"]
    assert not (tmp_path / "subject" / "cache").exists()


def test_recipes_that_are_compared_train_what_they_share_once(tmp_path, trained):
    names = []
    for number in (1, 2):
        recipe = recipe_of(tmp_path, None, name=f"mine{'ab'[number - 1]}", assistant={"temperature": number})
        file = tmp_path / f"{recipe.name}.yaml"
        file.write_text(recipe.to_yaml())
        names.append(str(file))
    compare_sources(names, output=tmp_path / "both")
    assert trained == [
        ("minea", "finetune"), ("minea", "assistant"), ("minea", "evaluate"),
        ("mineb", "assistant"), ("mineb", "evaluate"),
    ]  # fmt: skip
    same_weights(*(tmp_path / name / "stages" / "1-finetune" for name in ("minea", "mineb")))


LOOKS = {"check": comparison.check, "plan": lambda runs: comparison.plan_comparison(runs, read_task)}


@pytest.mark.parametrize("look_at", LOOKS.values(), ids=LOOKS)
def test_unequal_effort_is_told_once(tmp_path, caplog, look_at):
    systems = {
        "longer": {"assistant": {"epochs": 3}},
        "same": {"assistant": {"temperature": 2}},
        "tried": {"grid": {"assistant.epochs": [1, 5]}},
    }
    look_at(expand(recipe_of(tmp_path, {"systems": systems, "seeds": [7, 8]})))
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        f"{name}, seed 7 is trained for {epochs} epochs in all, what it is set against for 2: "
        "not the same effort"
        for name, epochs in (("longer", 4), ("tried", 6))
    ]


def test_a_task_added_later_leaves_all_as_it_is(tmp_path, trained):
    tasks = {
        "short": {"data": {"test_size": 20}, "finetune": {"epochs": 0.5}},
        "long": {"data": {"test_size": 24}},
    }
    system = {"hotter": COMPARE["systems"]["hotter"]}
    apply(tmp_path, {"systems": system, "tasks": {"short": tasks["short"]}})
    trained.clear()
    apply(tmp_path, {"systems": system, "tasks": tasks})
    assert trained == [
        ("own-long", "finetune"), ("own-long", "assistant"), ("own-long", "evaluate"),
        ("hotter-long", "assistant"), ("hotter-long", "evaluate"),
    ]  # fmt: skip
    compared = read_report(tmp_path / "subject" / "report").comparison
    assert [(task.task, task.examples) for task in compared.tasks] == [("short", 20), ("long", 24)]
    # 100 examples in batches of 16: half an epoch is 4 steps, a whole one 7.
    assert compared.system("hotter").steps.values == [4 + 7, 7 + 7]


def test_a_mistake_in_the_last_system_is_found_before_anything_is_trained(tmp_path, trained):
    systems = {"fine": {"assistant": {"temperature": 2}}, "deep": {"exits": {"layers": [1, 5]}}}
    with pytest.raises(RecipeError, match=r"exits.layers: .*\(system deep\)"):
        apply(tmp_path, {"systems": systems})
    assert trained == [] and not (tmp_path / "subject" / "stages").exists()


def test_a_later_tasks_missing_file_is_found_before_anything_is_trained(tmp_path, trained):
    files = {"train_file": str(tmp_path / "gone.tsv"), "test_fraction": 0.1}
    tasks = {"there": {}, "gone": {"data": {"task": "sst2", **files}}}
    with pytest.raises(DataError, match=r"gone\.tsv"):
        apply(tmp_path, {"systems": {}, "tasks": tasks})
    assert trained == []


def test_a_setting_in_the_grid_that_cannot_be_is_found_before_anything_is_trained(tmp_path, trained):
    with pytest.raises(RecipeError, match=r"exits.layers: .*\(system fine\)"):
        apply(tmp_path, {"systems": {"fine": {"grid": {"exits.layers": ["all", [5]]}}}})
    assert trained == []


def _apply_and_die(output, seconds):
    """In a process of its own: SIGKILL to itself after some seconds of work, wherever it is then."""
    torch.set_num_threads(1)

    def die():
        while time.process_time() < seconds:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=die, daemon=True).start()
    comparing.apply(output, {**COMPARE, "seeds": [7]}, training={"checkpoint_seconds": 0})


def _exit_code(target, *args):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["comparing", "prunekit.stages.training.fit", "prunekit.reports"])
    child = context.Process(target=target, args=args)
    child.start()
    child.join()
    return child.exitcode


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_the_same(whole, tmp_path):
    seed = random.SystemRandom().randrange(10**6)
    print(f"moments drawn from seed {seed}")
    draw = random.Random(seed)
    assert _exit_code(time.time) == 0  # the server is there
    for kills in range(60):
        code = _exit_code(_apply_and_die, tmp_path, draw.uniform(0.2, 2) * (1 + kills / 4))
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert code == 0 and kills >= 3
    # Of what is trained with the first seed.
    runs = ["stages", "compare/hotter", "compare/joint", "grid/joint-1", "grid/joint-2"]
    for run in runs:
        same_weights(whole[0] / "subject" / run, tmp_path / "subject" / run)
    reports = [read_report(output / "subject" / "report").comparison for output in (whole[0], tmp_path)]
    for one, other in zip(reports[0].tasks[0].rows, reports[1].tasks[0].rows, strict=True):
        assert one.scores["accuracy"].values[0] == other.scores["accuracy"].mean
    assert not list(tmp_path.rglob("stages/.*"))


class Killed(BaseException):
    pass


def test_killed_between_any_two_steps_of_taking_over_a_stage(tmp_path, monkeypatch):
    """Every call that changes the disk is the last one, in turn."""
    apply(tmp_path, None)
    subject = tmp_path / "subject"
    other = recipe_of(tmp_path, None, name="other", assistant={"temperature": 4})
    pool = comparison.Pool([recipe_of(tmp_path, None), other])
    run = Run(other)
    folder = run.stage_folder(1, "finetune")

    def whole_stage():
        same_weights(subject / "stages" / "1-finetune", folder)
        assert not (folder / "half").exists()
        records = MetricsLog(run.folder / "metrics.jsonl").records("finetune")
        assert records == MetricsLog(subject / "metrics.jsonl").records("finetune")

    for last in range(60):
        shutil.rmtree(run.folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "half").write_text("begun by itself and stopped")
        calls = []

        def counted(function, last=last, calls=calls):
            def call(*args, **kwargs):
                if len(calls) == last:
                    raise Killed
                calls.append(function)
                return function(*args, **kwargs)

            return call

        killed = False
        with monkeypatch.context() as patched:
            patched.setattr(sharing, "_link", counted(sharing._link))
            patched.setattr(Path, "rename", counted(Path.rename))
            patched.setattr(sharing.MetricsLog, "log", counted(sharing.MetricsLog.log))
            try:
                assert pool.take_over(other, run) == ["finetune"]
            except Killed:
                killed = True
        if killed and not (folder / "done.json").exists():
            # What says that the stage is done is there with all of it, or not at all.
            assert pool.take_over(other, run) == ["finetune"]
        whole_stage()
        if not killed:
            break
    assert last > 8  # files, records and renames
