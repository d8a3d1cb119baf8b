"""Several processes at one comparison: each thing is trained once, and to the same bits."""

import json
import logging
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import accelerate
import pytest
import torch
from comparing import COMPARE, apply, recipe_of, same_weights

from prunekit import comparison
from prunekit.comparison import helpers, prefix_digests, worker
from prunekit.comparison.claims import Claims
from prunekit.comparison.helpers import Helpers
from prunekit.comparison.sharing import Pool
from prunekit.comparison.worker import Worker
from prunekit.errors import RunError, TrainingError, system_error
from prunekit.recipes import expand, load_recipe
from prunekit.recipes.portable import from_plain, to_plain
from prunekit.reports import read_report
from prunekit.runs import Run, is_done, mark_done
from prunekit.stages import pipeline, run_recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture
def only_its_own(monkeypatch):
    """This process trains the run that asks for the comparison, and leaves all others to its helpers."""
    begin = Worker._begin

    def leave_others(self, recipe, place, chosen, stack):
        folder = Run(recipe).folder
        mine = folder in self._held
        return begin(self, recipe, place, chosen, stack) if mine or is_done(folder) else None

    monkeypatch.setattr(Worker, "_begin", leave_others)


def children():
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def test_what_helpers_train_is_what_one_process_trains(tmp_path, monkeypatch, caplog, only_its_own):
    caplog.set_level(logging.INFO, "prunekit")
    here, before = [], pipeline._run_stage
    monkeypatch.setattr(
        pipeline, "_run_stage", lambda context, *rest: (here.append(context.key), before(context, *rest))
    )
    done = apply(tmp_path / "side", jobs=3, training={"threads": 1})
    assert here == ["finetune", "assistant", "evaluate"]
    begun = [message for message in caplog.messages if message.endswith(": begins")]
    assert sorted(begun) == sorted(
        [
            "hotter, seed 7, assistant: begins",
            "hotter, seed 7, evaluate: begins",
            "joint, seed 7, setting 1 of 2, joint: begins",
            "joint, seed 7, setting 2 of 2, joint: begins",
            "joint, seed 7, evaluate: begins",
            "subject, seed 8, finetune: begins",
            "subject, seed 8, assistant: begins",
            "subject, seed 8, evaluate: begins",
            "hotter, seed 8, assistant: begins",
            "hotter, seed 8, evaluate: begins",
            "joint, seed 8, joint: begins",
            "joint, seed 8, evaluate: begins",
        ]
    )
    for one in done:
        if one.run.system != "subject":
            alone = one.recipe.model_copy(update={"output": str(tmp_path), "name": one.folder.name})
            with Run(alone) as run:
                run_recipe(alone, run)
            same_weights(one.folder, tmp_path / one.folder.name)
    report = read_report(tmp_path / "side" / "subject" / "report")
    assert [len(system.runs) for system in report.comparison.systems] == [2, 2, 2]
    assert json.loads((done[-1].folder / "run.json").read_text())["machine"]["threads"] == 1
    # Nothing is left that only the training needed.
    assert not [*tmp_path.rglob(".claims"), *tmp_path.rglob("cache"), *tmp_path.rglob(".cache.lock")]


# -- who trains what


def pretended(folder):
    """A stage that is done, as far as its folder tells."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.safetensors").touch()
    mark_done(folder, seconds=0, models={"model": f"stages/{folder.name}/model"})


def pretend(log, seed):
    """Stages that take less than a second, and say when they began and ended."""
    dice = random.Random(seed)

    def run(recipe, run, cache, threads):
        for number, (key, digest) in enumerate(zip(recipe.stages, prefix_digests(recipe), strict=True), 1):
            folder = run.stage_folder(number, key)
            if not is_done(folder):
                began = time.monotonic()
                time.sleep(dice.uniform(0, 0.6))
                pretended(folder)
                with log.open("a") as stream:
                    stream.write(json.dumps([digest, began, time.monotonic()]) + "\n")
        run.finish()

    return run


@pytest.mark.parametrize("seed", range(3))
def test_every_stage_is_trained_once_whoever_comes_first(tmp_path, monkeypatch, seed):
    """Four processes; which is fast and which is slow is thrown by dice."""
    log = tmp_path / "log"
    rates = {"grid": {"joint.learning_rate": [1e-6, 1e-3, 3e-2]}}
    systems = {**COMPARE["systems"], "joint": {**COMPARE["systems"]["joint"], **rates}}
    systems |= {
        f"warm{t}": {"assistant": {"temperature": 2}, "evaluate": {"thresholds": [t / 10]}} for t in (1, 2, 3)
    }
    recipe = recipe_of(
        tmp_path / "runs",
        {"seeds": [7, 8], "systems": systems, "grid": {"assistant.learning_rate": [1e-3, 2e-3]}},
    )
    # A second source, which begins as the first one does.
    beside = recipe_of(tmp_path / "runs", None, name="beside", evaluate={"thresholds": [0.3]})
    asked = {Run(one).folder: expand(one) for one in (recipe, beside)}
    runs = [run for runs in asked.values() for run in runs]
    monkeypatch.setattr(worker, "_WAIT", 0.002)
    # The middle one of three is the best, whoever looks.
    score = {1e-6: 0.1, 1e-3: 0.9, 3e-2: 0.5, 2e-3: 0.95}
    monkeypatch.setattr(
        worker,
        "validation_score",
        lambda trial, folder: score[trial.config(trial.stages[-1]).learning_rate],
    )
    claims = Claims.of(Run(recipe).folder)

    def help_out(number):
        worker.run_recipe = pretend(log, f"{seed} {number}")
        Worker(asked, claims=claims).finish()

    context = multiprocessing.get_context("fork")
    with Run(recipe) as own, Run(beside) as other:
        others = [context.Process(target=help_out, args=(number,)) for number in (1, 2, 3)]
        for process in others:
            process.start()
        monkeypatch.setattr(worker, "run_recipe", pretend(log, f"{seed} 0"))
        made = Worker(asked, held=[own, other], claims=claims).finish()
        done = [made[run.folder] for run in runs]
        for process in others:
            process.join(60)
    assert [process.exitcode for process in others] == [0, 0, 0]
    stages = [json.loads(line) for line in log.read_text().splitlines()]
    trials = [c.trial for run in runs for c in run.candidates if c.trial is not None]
    wanted = {digest for made in [*(one.recipe for one in done), *trials] for digest in prefix_digests(made)}
    assert sorted(digest for digest, *_ in stages) == sorted(wanted)
    chosen = {(one.run.system, one.recipe.config(one.recipe.stages[1]).learning_rate) for one in done}
    assert {("subject", 2e-3), ("joint", 1e-3)} <= chosen and len(chosen) == len(systems) + 2
    # Some were at it at once.
    assert any(a[1] < b[1] < a[2] for a in stages for b in stages)


def test_answers_stay_as_long_as_a_run_may_ask_for_them(tmp_path, monkeypatch):
    """Two tasks of the comparison are on one set of examples, and share what the teacher says of them."""
    seen = []

    def run(recipe, run, cache, threads):
        assert not threads
        seen.append((run.folder.name, cache.name, cache.is_dir()))
        cache.mkdir(parents=True, exist_ok=True)
        run.finish()

    monkeypatch.setattr(worker, "run_recipe", run)
    tasks = {"short": {"data": {"test_size": 20}}, "long": {"data": {"test_size": 30}}}
    recipe = recipe_of(tmp_path, {"tasks": tasks, "seeds": [7, 8]})
    with Run(recipe) as own:
        Worker({own.folder: expand(recipe)}, held=[own]).finish()
    assert seen == [
        ("subject", "reviews-7", False),
        ("own-8", "reviews-8", False),
        ("own-long", "reviews-7", True),
        ("own-long-8", "reviews-8", True),
    ]
    assert not (tmp_path / "subject" / "cache").exists()


@pytest.mark.parametrize(
    ("compare", "own", "given"),
    [
        ({**COMPARE, "seeds": [7]}, None, {"finetune": 5}),
        # The other seed's can be trained meanwhile.
        (COMPARE, None, {}),
        ({**COMPARE, "seeds": [7]}, 3, {}),
    ],
)
def test_a_stage_that_all_runs_begin_with_has_all_threads(tmp_path, monkeypatch, compare, own, given):
    said = []

    def run(recipe, run, cache, threads):
        said.append(threads)
        run.finish()

    monkeypatch.setattr(worker, "run_recipe", run)
    monkeypatch.setattr(worker, "validation_score", lambda trial, folder: 0.5)
    recipe = recipe_of(tmp_path, compare, training={"threads": own})
    with Run(recipe) as held:
        asked = {held.folder: expand(recipe)}
        Worker(asked, held=[held], claims=Claims.of(held.folder), threads=5).finish()
    assert said and all(one == given for one in said)


def test_a_stage_made_with_another_setting_of_a_grid_is_not_taken_for_this_one(tmp_path):
    """The run could come to be made with either rate, and was made with the first."""
    recipe = recipe_of(tmp_path, {"grid": {"assistant.learning_rate": [1e-3, 2e-3]}})
    (run,) = expand(recipe)
    first, second = (candidate.recipe for candidate in run.candidates)
    with Run(recipe) as own:
        own.keep(first, {"assistant.learning_rate": 1e-3})
        for number, key in ((1, "finetune"), (2, "assistant")):
            folder = own.stage_folder(number, key)
            pretended(folder)
    trials = [candidate.trial for candidate in run.candidates]
    pool = Pool([first, second, *trials])
    # All of the first's trial is there; the second's may be made by the run itself, and is not yet.
    assert pool.makers_of_next(trials[0]) == []
    assert pool.makers_of_next(trials[1]) == [tmp_path / "subject"]


def test_a_claim_ends_with_the_process_that_has_it(tmp_path):
    claims, run = Claims(tmp_path / "claims"), tmp_path / "run"
    assert not claims.taken(run) and not (tmp_path / "claims").exists()
    context = multiprocessing.get_context("fork")
    held = context.Queue()

    def hold():
        with Claims(tmp_path / "claims").hold(run) as mine:
            held.put(mine)
            time.sleep(600)

    other = context.Process(target=hold)
    other.start()
    assert held.get(timeout=60) is True
    assert claims.taken(run)
    with claims.hold(run) as mine:
        assert not mine
    other.kill()
    other.join()
    assert not claims.taken(run)
    with claims.hold(run) as mine:
        assert mine and claims.taken(run)


def test_claims_leave_nothing_behind(tmp_path):
    """A run that holds nothing but its recipe may still be given another."""
    claims = Claims.of(tmp_path)
    with claims.choosing(), claims.hold(tmp_path):
        pass
    claims.remove()
    assert list(tmp_path.iterdir()) == []


# -- what goes wrong


def test_a_helpers_error_is_that_of_the_comparison(tmp_path, only_its_own):
    systems = {"hot": {"assistant": {"temperature": 4}}, "warm": {"assistant": {"temperature": 2}}}
    # What one of them would be made as is there, and was made otherwise.
    recipe = recipe_of(tmp_path, {"systems": {"warm": {"assistant": {"temperature": 3}}}})
    made = expand(recipe)[1]
    with Run(recipe), Run(made.candidates[0].recipe) as run:
        (run.folder / "stages").mkdir()
    with pytest.raises(RunError, match=r"compare/warm was made with another recipe") as caught:
        apply(tmp_path, {"systems": systems}, jobs=2)
    assert "temperature: 3.0 there, 2.0 now" in caught.value.message
    assert "another name in compare.systems" in caught.value.mend
    assert not is_done(made.folder)


def test_a_recipe_that_was_sent_knows_the_places_of_its_keys(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe_of(tmp_path, {"systems": {"hot": {"assistant": {"temperature": 4}}}}).to_yaml())
    recipe = load_recipe(file, ["data.train_size=60"])
    sent = from_plain(json.loads(json.dumps(to_plain(recipe))))
    assert sent.resolved() == recipe.resolved()
    for key in (("data", "train_size"), ("assistant", "epochs"), ("assistant", "nothing")):
        assert sent.location(*key) == recipe.location(*key)
        assert sent.is_set(*key) == recipe.is_set(*key)
    line = 1 + file.read_text().splitlines().index("assistant:")
    assert sent.location("assistant") == f"{file}:{line}:1: assistant"


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [
        ("TrainingError('the loss is not a number', 'learn slower')", TrainingError, "^the loss is not a n"),
        ("OSError(28, 'No space left on device')", RunError, "cannot write: No space left on device"),
        ("ZeroDivisionError('nothing')", RuntimeError, "ZeroDivisionError: nothing"),
    ],
)
def test_whatever_ends_a_helper_is_told(tmp_path, monkeypatch, caplog, error, raised, words):
    """A part of the user's own, found where this process finds it, fails in the helper."""
    (tmp_path / "failing.py").write_text(
        "from prunekit.errors import TrainingError\nfrom prunekit.comparison import worker\n"
        f"class Fails:\n    def __init__(self, *_, **__): raise {error}\nworker.Worker = Fails\n"
    )
    monkeypatch.setattr(helpers, "_START", helpers._START.replace("\nsys.exit", "\nimport failing\nsys.exit"))
    monkeypatch.syspath_prepend(tmp_path)
    started = Helpers({tmp_path / "subject": expand(recipe_of(tmp_path))}, Claims.of(tmp_path), 1)
    with started, pytest.raises(raised, match=words) as caught:
        for _ in range(2000):
            started.check()
            time.sleep(0.05)
    assert getattr(caught.value, "mend", "learn slower") in (
        "learn slower",
        system_error(OSError(28, "")).mend,
    )
    assert any("stopped: " in message for message in caplog.messages)  # at once, and not at the end alone


def test_a_helper_that_is_killed_is_told_of(tmp_path):
    runs = expand(recipe_of(tmp_path))
    threads, before = torch.get_num_threads(), children()
    with Helpers({tmp_path / "subject": runs}, Claims.of(tmp_path), 1) as started:
        started.check()
        (pid,) = set(children()) - set(before)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(RunError, match="was ended by SIGKILL") as caught:
            for _ in range(200):
                started.check()
                time.sleep(0.05)
    assert "fewer --jobs" in caught.value.mend
    assert torch.get_num_threads() == threads and children() == before


def test_helpers_end_with_the_process_that_started_them(tmp_path):
    code = (
        "import sys, time; sys.path[:0] = ['tests/comparison', 'tests/stages']\n"
        "from pathlib import Path; from comparing import recipe_of\n"
        "from prunekit.comparison.claims import Claims; from prunekit.comparison.helpers import Helpers\n"
        "from prunekit.recipes import expand\n"
        f"home = Path({str(tmp_path)!r}); runs = expand(recipe_of(home))\n"
        "with Helpers({home: runs}, Claims.of(home), 1) as helpers:\n"
        "    print(helpers._processes[0].pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as other:
        pid = int(other.stdout.readline())
        time.sleep(0.5)
        assert Path(f"/proc/{pid}").exists()
        other.kill()
        other.wait()
    deadline = time.monotonic() + 60
    while _runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _runs(pid):
    """Whether a process is there, and not one that has ended and nobody asked after."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_not_in_a_distributed_launch(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerate.PartialState(), "num_processes", 2)
    with pytest.raises(RunError, match="one of a distributed launch") as caught:
        Helpers({tmp_path: expand(recipe_of(tmp_path))}, Claims.of(tmp_path), 1)
    assert "leave out --jobs" in caught.value.mend


@pytest.mark.parametrize(
    ("count", "visible", "dealt"),
    [(0, None, [None] * 3), (1, None, [None] * 3), (2, None, ["1", "0", "1"]), (3, "4,6,7", ["6", "7", "4"])],
)
def test_accelerators_are_dealt_out(monkeypatch, count, visible, dealt):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("FORCE_COLOR", "1")  # a pipe is no terminal
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    environments = [helpers._environment(number) for number in (1, 2, 3)]
    assert [one.get("CUDA_VISIBLE_DEVICES") for one in environments] == dealt
    assert not any({"RANK", "FORCE_COLOR"} & one.keys() for one in environments)
    assert environments[0]["PATH"] == os.environ["PATH"]


def test_one_job_and_a_finished_comparison_start_no_helper(whole, monkeypatch):
    output, _ = whole
    monkeypatch.setattr(helpers.Helpers, "__init__", lambda *_: pytest.fail("started"))
    recipe = recipe_of(output)
    with Run(recipe) as run:
        assert list(map(len, comparison.train([(run, expand(recipe))], jobs=4))) == [6]
