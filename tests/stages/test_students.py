"""Students of other depth and width: how they are made, and what they learn from their teachers."""

import json

import pytest
import torch
from families import ENCODERS, backbone, batch
from safetensors.torch import load_file
from tiny import TINY, apply, tiny_recipe
from torch.nn.functional import mse_loss

from prunekit.architectures import architecture_of, shape_of
from prunekit.checkpoints import load, save
from prunekit.distill import LiveTeacher
from prunekit.distill.losses.matched import Attention, Cosine, Embeddings, Hidden
from prunekit.errors import CheckpointError, RecipeError
from prunekit.exits import MultiExitForSequenceClassification
from prunekit.planning import plan
from prunekit.recipes import load_recipe
from prunekit.reports import read_report
from prunekit.runs import Run
from prunekit.stages import run_recipe
from prunekit.stages.metrics import MetricsLog
from prunekit.stages.student import StudentConfig, narrow
from prunekit.stages.training.matching import ATTACHED, Matching, mapped_layers
from prunekit.stages.training.objectives import Objective
from prunekit.stages.training.trainer import StageTrainer

STAGES = ["finetune", "student", "intermediate", "prediction", "evaluate"]
STUDENT = {"layers": 1, "hidden_size": 8, "neurons": 12}
INTERMEDIATE = {
    "uses": "distill", "embeddings": 1, "hidden": 1, "attention": 1, "cosine": 1, "predictions": 0,
    "epochs": 2, "learning_rate": 1e-3,
}  # fmt: skip
PREDICTION = {"uses": "distill", "predictions": 1, "ground_truth": 0.5, "epochs": 1, "learning_rate": 1e-3}


def model(family="bert", seed=0, **options):
    torch.manual_seed(seed)
    made = MultiExitForSequenceClassification.from_backbone(
        backbone(family, seed, initializer_range=0.3), num_labels=3, exit_layers="last", **options
    )
    return made.eval()


# -- the student


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize("head", ["linear", "pooled"])
@pytest.mark.parametrize("reads", ["mean", "learned"])
def test_a_student_that_keeps_everything_says_the_same_bits(family, head, reads):
    original = model(family, head=head, reads=reads)
    for config in (StudentConfig(layers=3), StudentConfig(hidden_size=32, heads=4, neurons=48)):
        student = narrow(original, config)
        assert torch.equal(student(**batch()).logits, original(**batch()).logits)


@pytest.mark.parametrize("family", ENCODERS)
def test_a_narrow_student_is_saved_and_loaded_whole(family, tmp_path):
    student = narrow(
        model(family, head="pooled"), StudentConfig(layers=2, hidden_size=16, heads=2, neurons=9)
    )
    assert student.config.exit_layers == [2]
    again = load(save(student, tmp_path / "student"))
    assert torch.equal(again(**batch()).logits, student(**batch()).logits)
    assert shape_of(again) == shape_of(student)


def test_the_exit_keeps_what_it_says_of_the_dimensions_that_are_left():
    original = model(head="pooled", reads="learned")
    original.exits[-1].query.weight.data.normal_()
    student = narrow(original, StudentConfig(hidden_size=16))
    old, new = original.exits[-1], student.exits[-1]
    words, cut = (m.backbone.embeddings.word_embeddings.weight for m in (original, student))
    keep = [next(j for j in range(32) if torch.equal(words[:, j], cut[:, i])) for i in range(16)]
    assert torch.equal(new.classifier.weight, old.classifier.weight[:, keep])
    assert torch.equal(new.dense.weight, old.dense.weight[keep][:, keep])
    assert torch.equal(new.dense.bias, old.dense.bias[keep])
    assert torch.equal(new.query.weight, old.query.weight[:, keep])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "nothing says what the student is"),
        ({"name": "x", "layers": 2}, "name is given together with layers"),
        ({"layers": []}, "at least one layer"),
        ({"layers": 3}, "3 asked for, and the original has 2"),
        ({"layers": [1, 3]}, "not layers of a model of 2"),
        ({"hidden_size": 20}, "20 asked for, and the original has 16"),
    ],
)
def test_students_that_cannot_be_are_refused_before_any_compute(settings, words, tmp_path):
    with pytest.raises(RecipeError, match=words):
        plan(tiny_recipe(tmp_path, student=settings, stages=["finetune", "student"]))


# -- layer maps and losses


def test_layer_maps():
    assert mapped_layers("uniform", 4, 12) == [3, 6, 9, 12]
    assert mapped_layers("last", 4, 12) == [9, 10, 11, 12]
    assert mapped_layers([1, 1, 12, 2], 4, 12) == [1, 1, 12, 2]
    for wrong, words in (([1, 2], "4 layers"), ([0, 1, 2, 3], "1 to 12"), ([1, 2, 3, 13], "1 to 12")):
        with pytest.raises(RecipeError, match=words):
            mapped_layers(wrong, 4, 12)
    with pytest.raises(RecipeError, match="the student has 4 layers, the teacher only 3"):
        mapped_layers("uniform", 4, 3)
    assert mapped_layers([3, 3, 3, 3], 4, 3) == [3, 3, 3, 3]


def eager(multi_exit, inputs):
    """transformers' own attention probabilities and hidden states."""
    inner = multi_exit.backbone
    inner.set_attn_implementation("eager")
    output = inner(**inputs, output_attentions=True, output_hidden_states=True)
    inner.set_attn_implementation("sdpa")
    return output


def plain_scores(multi_exit, number, hidden):
    """Scores of a layer (from 1) from the weights alone, head by head."""
    parts = architecture_of(multi_exit).attention(
        architecture_of(multi_exit).layers(multi_exit.backbone)[number - 1]
    )
    every = []
    for head in range(parts.num_attention_heads):
        rows = slice(head * parts.head_dim, (head + 1) * parts.head_dim)
        query = hidden @ parts.query.weight[rows].T + parts.query.bias[rows]
        key = hidden @ parts.key.weight[rows].T + parts.key.bias[rows]
        every.append(torch.einsum("bid,bjd->bij", query, key) / parts.head_dim**0.5)
    return torch.stack(every, dim=1)


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "distilbert"])
@pytest.mark.parametrize("layer_map", ["uniform", "last", [3, 1]])
def test_every_loss_is_what_transformers_hidden_states_and_attention_say(family, layer_map):
    teacher, inputs = model(family, seed=1), batch()
    student = narrow(model(family), StudentConfig(layers=2, hidden_size=16, neurons=9))
    torch.manual_seed(2)
    matching = Matching(student, teacher, layer_map)
    terms = [
        matching.term(Embeddings(), 0.5),
        matching.term(Hidden(), 2),
        matching.term(Attention(), 3),
        matching.term(Cosine(), 4),
    ]
    parts = Objective(terms, LiveTeacher(teacher)).parts(student, inputs)

    layers = {"uniform": [2, 3], "last": [2, 3]}.get(str(layer_map), layer_map)
    ours, theirs, real = eager(student, inputs), eager(teacher, inputs), inputs["attention_mask"].bool()
    embed, wide = (matching.projections[name].weight.T for name in ("embeddings", "hidden"))
    hidden = [mse_loss((ours.hidden_states[m] @ wide)[real], theirs.hidden_states[g][real])
              for m, g in enumerate(layers, 1)]  # fmt: skip
    assert parts["hidden"].tolist() == pytest.approx([2 * h.item() for h in hidden], rel=1e-4)
    expected = mse_loss((ours.hidden_states[0] @ embed)[real], theirs.hidden_states[0][real])
    assert parts["embeddings"].item() == pytest.approx(0.5 * expected.item(), rel=1e-4)
    angles = torch.cosine_similarity(
        (ours.hidden_states[-1] @ wide)[real], theirs.hidden_states[layers[-1]][real]
    )
    assert parts["cosine"].item() == pytest.approx(4 * (1 - angles).mean().item(), rel=1e-4)

    pairs = (real[:, :, None] & real[:, None, :])[:, None].expand(-1, 4, -1, -1)
    for m, g in enumerate(layers, 1):
        own = plain_scores(student, m, ours.hidden_states[m - 1])
        shut = own.masked_fill(~real[:, None, None, :], -torch.inf).softmax(-1)
        assert torch.allclose(shut, ours.attentions[m - 1], atol=1e-5)
        taught = plain_scores(teacher, g, theirs.hidden_states[g - 1])
        value = 3 * mse_loss(own[pairs], taught[pairs]).item()
        assert parts["attention"][m - 1].item() == pytest.approx(value, rel=1e-4)


def test_losses_with_itself_are_zero_and_need_no_projection():
    teacher = model()
    matching = Matching(model(), teacher)
    assert not list(matching.projections.parameters())
    terms = [
        matching.term(Embeddings()),
        matching.term(Hidden()),
        matching.term(Attention()),
        matching.term(Cosine()),
    ]
    parts = Objective(terms, LiveTeacher(teacher)).parts(model(), batch())
    assert {name: part.sum().item() for name, part in parts.items()} == pytest.approx(
        {"embeddings": 0, "hidden": 0, "attention": 0, "cosine": 0}, abs=1e-6
    )


def test_attention_teaches_the_students_queries_and_keys_and_the_layers_below():
    student, teacher = narrow(model(), StudentConfig(layers=2)), model(seed=1)
    matching = Matching(student, teacher)
    Objective([matching.term(Attention())], LiveTeacher(teacher))(student, batch()).backward()
    layers = student.backbone.encoder.layer
    assert layers[1].attention.self.query.weight.grad.abs().sum() > 0
    assert layers[1].attention.self.key.weight.grad.abs().sum() > 0
    assert layers[0].output.dense.weight.grad.abs().sum() > 0
    assert layers[1].output.dense.weight.grad is None or not layers[1].output.dense.weight.grad.any()
    assert all(p.grad is None for p in teacher.parameters())


def test_heads_that_differ_in_number_are_refused(tmp_path):
    student, teacher = narrow(model(), StudentConfig(heads=2)), model(seed=1)
    with pytest.raises(RecipeError, match="layer 1 has 2 heads and the teacher's layer 1 has 4"):
        Matching(student, teacher).term(Attention())
    Matching(student, teacher).term(Attention(), 0)
    recipe = tiny_recipe(
        tmp_path, student={"heads": 2}, distill={"attention": 1}, stages=["finetune", "student", "distill"]
    )
    with pytest.raises(RecipeError, match=r"distill\.attention: the student's layer 1 has 2 heads") as caught:
        plan(recipe)
    assert "narrower" in str(caught.value)


def test_only_the_projections_in_use_are_trained_along():
    teacher = model(seed=1)
    student = narrow(model(), StudentConfig(hidden_size=16))
    matching, before = Matching(student, teacher), list(student.state_dict())
    cases = [
        ([matching.term(Cosine())], {"hidden"}), ([matching.term(Embeddings())], {"embeddings"}),
        ([matching.term(Attention())], set()), ([matching.term(Hidden(), 0)], set()),
        ([matching.term(Embeddings()), matching.term(Hidden())], {"embeddings", "hidden"}),
    ]  # fmt: skip
    for terms, names in cases:
        with matching.attached(*terms):
            new = set(student.state_dict()) - set(before)
            assert new == {f"{ATTACHED}.{name}.weight" for name in names}
        assert list(student.state_dict()) == before


# -- the stages


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    return apply(
        tmp_path_factory.mktemp("taught"), student=STUDENT, intermediate=INTERMEDIATE, prediction=PREDICTION,
        stages=STAGES,
    )  # fmt: skip


def test_two_phases_teach_a_narrow_student(taught):
    student = load(taught / "stages/2-student/model")
    final = load(taught / "model")
    assert shape_of(final) == shape_of(student)
    assert (student.config.hidden_size, student.config.exit_layers) == (8, [1])
    log = MetricsLog(taught / "metrics.jsonl")
    parts = {(r["stage"], r["phase"]): r["loss"] for r in log.records(kind="train")}
    assert set(parts["intermediate", "distill"]) == {"embeddings", "hidden", "attention", "cosine"}
    assert set(parts["prediction", "distill"]) == {"predictions", "ground truth"}
    first = next(r["loss"] for r in log.records("intermediate", "train"))
    assert sum(parts["intermediate", "distill"].values()) < sum(first.values())
    # Validation scores choose only where exits learn.
    assert not log.records("intermediate", "evaluate") and log.records("prediction", "evaluate")
    report = read_report(taught / "report")
    assert report.systems[0].figures.parameters == sum(p.numel() for p in final.parameters())


def test_no_model_that_is_saved_holds_a_projection(taught):
    for file in taught.rglob("model.safetensors"):
        assert not [name for name in load_file(file) if ATTACHED in name]


class Killed(Exception):
    pass


@pytest.mark.parametrize("cache", ["on", "off"])
def test_stopped_and_resumed_the_weights_are_the_same_bits(tmp_path, monkeypatch, cache):
    """The projections, too: what they have learned decides what the student learns after the break."""
    changes = {
        "finetune": {"epochs": 0.5}, "student": STUDENT, "intermediate": {**INTERMEDIATE, "cache": cache},
        "stages": ["finetune", "student", "intermediate"],
    }  # fmt: skip
    whole = apply(tmp_path / "whole", **changes)
    step = StageTrainer.training_step
    seen = []

    def dies(self, *args, **kwargs):
        if self.name.startswith("intermediate") and self.state.global_step == 9:
            monkeypatch.setattr(StageTrainer, "training_step", step)
            file = max((tmp_path / "broken").rglob("checkpoint-*/model.safetensors"))
            seen.append([name for name in load_file(file) if ATTACHED in name])
            raise Killed
        return step(self, *args, **kwargs)

    monkeypatch.setattr(StageTrainer, "training_step", dies)
    with pytest.raises(Killed):
        apply(tmp_path / "broken", **changes)
    broken = apply(tmp_path / "broken", **changes)
    assert seen == [[f"{ATTACHED}.embeddings.weight", f"{ATTACHED}.hidden.weight"]]
    for file in ("2-student", "3-intermediate"):
        ours, theirs = (
            load_file(run / "stages" / file / "model/model.safetensors") for run in (broken, whole)
        )
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_cached_teacher_teaches_what_the_live_one_does(tmp_path):
    losses = []
    for cache in ("on", "off"):
        folder = apply(
            tmp_path / cache, student=STUDENT, intermediate={**INTERMEDIATE, "epochs": 0.5, "cache": cache},
            stages=["finetune", "student", "intermediate"],
        )  # fmt: skip
        records = MetricsLog(folder / "metrics.jsonl").records("intermediate", "train")
        losses.append([value for record in records for value in record["loss"].values()])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3, abs=1e-6)


def test_a_checkpoint_can_be_the_student(taught, tmp_path):
    changes = {"student": {"name": str(taught / "model")}, "stages": ["finetune", "student", "evaluate"]}
    folder = apply(tmp_path, **changes)
    student, source = load(folder / "stages/2-student/model"), load(taught / "model")
    assert shape_of(student) == shape_of(source)
    for name, tensor in source.backbone.state_dict().items():
        assert torch.equal(student.backbone.state_dict()[name], tensor)


def test_a_plan_knows_that_an_assistant_begins_as_the_original(tmp_path):
    planned = plan(tiny_recipe(tmp_path, student=STUDENT, stages=["finetune", "student", "assistant"]))
    assert [len(stage.figures.layers) for stage in planned.stages] == [2, 1, 2]
    folder = apply(
        tmp_path, student=STUDENT, assistant={"epochs": 0.1}, stages=["finetune", "student", "assistant"]
    )
    assert load(folder / "stages/3-assistant/model").config.num_hidden_layers == 2


def test_a_student_with_another_vocabulary_is_refused(taught, tmp_path):
    changes = {"data": {"seed": 99, "train_size": 5}, "student": {"name": str(taught / "model")}}
    recipe = tiny_recipe(tmp_path, finetune={"epochs": 0.2}, stages=["finetune", "student"], **changes)
    with Run(recipe) as run, pytest.raises(CheckpointError, match="another vocabulary"):
        run_recipe(recipe, run)


def test_what_decides_a_student(tmp_path):
    def inputs(**exits):
        recipe = tiny_recipe(tmp_path, student=STUDENT, exits=exits, stages=["finetune", "student"])
        return recipe.stage_class("student")(recipe.config("student")).inputs(recipe, "student")

    assert inputs() == inputs(layers=[1], head="pooled")
    assert json.loads(json.dumps(inputs())) == inputs()
    assert inputs()["config"]["hidden_size"] == 8


# -- the shipped recipes

SIZES = {
    "tinybert": {"student.layers": 1, "student.hidden_size": 8, "student.neurons": 12,
                 "intermediate.epochs": 1, "prediction.epochs": 1},
    "distilbert": {"student.layers": 1, "distill.epochs": 1},
    "small-bert": {"student.layers": "[1]", "student.hidden_size": 8, "student.heads": 2,
                   "student.neurons": 12, "tune.epochs": 1},
    "elasticbert": {"exits.layers": "[1, 2]", "joint.epochs": 1, "model.config.num_hidden_layers": 3},
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_the_shipped_recipe_runs_in_small(name, tmp_path):
    shared = {f"model.config.{key}": value for key, value in TINY["model"]["config"].items()}
    shared |= {f"data.{key}": value for key, value in TINY["data"].items() if key != "task"}
    shared |= {"training.precision": "float32", "finetune.epochs": 1, "output": tmp_path}
    recipe = load_recipe(name, [f"{key}={value}" for key, value in (shared | SIZES[name]).items()])
    with Run(recipe) as run:
        run_recipe(recipe, run)
    report, final = read_report(run.folder / "report"), load(run.folder / "model")
    assert report.systems[0].figures.parameters == sum(p.numel() for p in final.parameters())
    assert report.systems[0].figures.parameters < report.dense.parameters
    exits = [1, 2] if name == "elasticbert" else [1]
    assert final.config.exit_layers == exits
    original = load(next(run.folder.glob("stages/1-finetune/*/model.safetensors")).parent)
    assert original.config.exit_layers == [original.config.num_hidden_layers]
