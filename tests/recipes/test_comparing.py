"""compare: what it may say, and the ordinary recipes it comes to."""
# ruff: noqa: E501 - one mistake a line

import re

import pytest
import yaml

from prunekit.errors import RecipeError
from prunekit.recipes import expand, load_recipe

OTHER = """\
description: Another one.
model: {}
stages: [warm, slim]
exits: {reads: first, head: pooled, dropout: 0.3}
training: {batch_size: 8}
warm: {epochs: 9, learning_rate: 1e-4}
slim: {heads: 3, layers: [2]}
compare: {systems: {never: {}}}
"""


@pytest.fixture
def write(folder):
    def write(compare, name="mine.yaml", **over):
        (folder / "other.yaml").write_text(OTHER)
        text = f"extends: base.yaml\ncompare:\n{compare}" if compare else "extends: base.yaml\n"
        (folder / name).write_text(text)
        return name

    return write


def runs_of(recipe, *overrides):
    return {run.place: run for run in expand(load_recipe(recipe, overrides))}


def the(run):
    (candidate,) = run.candidates
    return candidate.recipe


def test_without_compare_there_is_the_recipes_own_run(folder):
    recipe = load_recipe("base.yaml")
    (run,) = expand(recipe)
    assert run.subject and run.system == "the-base" and the(run) is recipe and recipe.compare is None
    assert str(run.folder) == "runs/the-base"


def test_a_system_without_extends_is_this_recipe_with_other_settings(write):
    runs = runs_of(
        write("  systems:\n    few: {slim: {heads: 1}}\n    many: {label: Many heads, slim: {heads: 8}}\n")
    )
    assert list(runs) == ["mine", "few", "many"]
    few, many = the(runs["few"]), the(runs["many"])
    assert (few.config("slim").heads, many.config("slim").heads) == (1, 8)
    assert few.config("warm").epochs == 3 and few.config("slim").scorer == {"name": "taylor"}
    assert [str(run.folder) for run in runs.values()] == [
        "runs/mine",
        "runs/mine/compare/few",
        "runs/mine/compare/many",
    ]
    assert (runs["few"].label, runs["many"].label) == ("few", "Many heads")
    assert few.compare is None and few.name == "few" and few.output == "runs/mine/compare"


def test_what_lies_over_the_recipe_that_is_extended(write):
    name = write("  systems:\n    one: {extends: other.yaml, slim: {layers: [1, 2]}}\n")
    runs = runs_of(
        name,
        "exits.reads=mean",
        "exits.layers=[2, 4]",
        "training.batch_size=16",
        "seed=5",
        "data.train_size=30",
    )
    one = the(runs["one"])
    # Shared: data, training, seed, what exits read and where they are.
    assert (one.exits.reads, one.exits.layers, one.exits.dropout) == ("mean", [2, 4], 0.1)
    assert (one.training.batch_size, one.seed, one.data.train_size) == (16, 5, 30)
    # Its own, or that of the recipe it extends.
    assert one.exits.head == "pooled" and one.config("warm").epochs == 9
    assert (one.config("slim").heads, one.config("slim").layers) == (3, [1, 2])


def test_a_system_keeps_the_places_of_its_own_exits(write, folder):
    name = write("  systems: {a: {extends: other.yaml, exits: {layers: last}}, b: {extends: own.yaml}}\n")
    (folder / "own.yaml").write_text(OTHER.replace("head: pooled", "layers: [3]"))
    runs = runs_of(name, "exits.layers=[2, 4]")
    assert the(runs["a"]).exits.layers == "last" and the(runs["b"]).exits.layers == [3]


@pytest.mark.parametrize(
    ("overrides", "shared"),
    [([], (0.01, 128)), (["evaluate={max_drop: 0.04, sequence_length: 64}"], (0.04, 64))],
)
def test_a_system_is_measured_as_the_comparing_recipe_is(write, folder, overrides, shared):
    measured = "evaluate: {policy: patience, max_drop: 0.3, sequence_length: 99}\n"
    (folder / "own.yaml").write_text(OTHER.replace("slim]", "slim, evaluate]") + measured)
    name = write("  systems: {one: {extends: own.yaml}}\n")
    one = the(runs_of(name, "stages=[warm, slim, evaluate]", *overrides)["one"]).config("evaluate")
    assert (one.max_drop, one.sequence_length) == shared
    # How examples leave is the system's own.
    assert one.policy == "patience"


def test_shares_takes_more_from_the_comparing_recipe(write):
    name = write("  systems:\n    one: {extends: other.yaml, shares: [slim.heads, warm.epochs]}\n")
    one = the(runs_of(name, "slim.heads=6")["one"])
    assert (one.config("slim").heads, one.config("warm").epochs, one.config("slim").layers) == (6, 3, [2])
    with pytest.raises(RecipeError, match=r"mine.yaml:4:41: shares: .* has no slim.tails \(system one\)"):
        runs_of(write("  systems:\n    one: {extends: other.yaml, shares: [slim.tails]}\n"))


def test_shares_takes_a_whole_stage_all_but_some_or_sums(write, folder):
    name = write(
        "  systems:\n"
        "    one: {extends: other.yaml, shares: [slim: {but: [layers]}, warm.epochs: {warm.epochs: 2, slim.heads: 0.5}]}\n"
        "    two: {extends: other.yaml, shares: [slim], warm: {epochs: 1}}\n"
        "    self: {shares: [warm.epochs: slim.heads], slim: {heads: 1}}\n"
    )
    runs = runs_of(name, "slim.heads=6", "slim.scorer=magnitude")
    told = {
        place: (
            r.config("slim").heads,
            r.config("slim").layers,
            r.config("slim").scorer,
            r.config("warm").epochs,
        )
        for place, r in ((place, the(run)) for place, run in runs.items())
    }
    assert told == {
        "mine": (6, [1, 2], "magnitude", 3),
        "one": (6, [2], "magnitude", 2 * 3 + 0.5 * 6),
        "two": (6, [1, 2], "magnitude", 1),
        # Without extends, of the recipe's own settings, not the system's.
        "self": (1, [1, 2], "magnitude", 6),
    }  # fmt: skip


def test_a_recipe_says_itself_what_it_shares_and_a_system_may_say_otherwise(write, folder):
    name = write("  systems: {a: {extends: heir.yaml}, b: {extends: heir.yaml, shares: []}}\n")
    (folder / "own.yaml").write_text(OTHER + "shares: [slim.heads, joint.epochs: assistant.epochs]\n")
    (folder / "heir.yaml").write_text("extends: own.yaml\n")
    runs = runs_of(name, "slim.heads=6")
    # What the recipe shares of a stage that is not there is passed over.
    assert [the(runs[place]).config("slim").heads for place in "ab"] == [6, 3]
    assert the(runs["a"]).shares == []


LOST = [
    ("  seeds: [1, 2]\n", "seed=7", "seed=7 has no effect: compare.seeds sets 1", "compare.seeds=[7]"),
    (
        "  tasks: {t: {warm: {epochs: 1}}}\n",
        "warm.epochs=2",
        "warm.epochs=2 has no effect: compare.tasks.t sets 1",
        "set compare.tasks.t.warm.epochs=2",
    ),
]


@pytest.mark.parametrize(("compare", "override", "message", "mend"), LOST)
def test_an_override_that_would_be_lost_is_refused(write, compare, override, message, mend):
    name = write(compare)
    with pytest.raises(RecipeError) as caught:
        load_recipe(name, [override])
    assert caught.value.message == f"command line: {message}" and mend in caught.value.mend
    # The same value, and what the mend says, are taken.
    load_recipe(name, [override.replace("7", "1").replace("2", "1")])
    recipe = load_recipe(name, [caught.value.mend.removeprefix("set ").partition(", or ")[0]])
    assert recipe.seed == 7 or recipe.config("warm").epochs == 2


def test_a_list_of_systems_names_shipped_recipes_and_files(write):
    recipe = load_recipe(write("  systems: [deebert-slender, other.yaml]\n"))
    assert list(recipe.compare.systems) == ["deebert-slender", "other"]
    assert recipe.compare.systems["deebert-slender"].extends == "deebert-slender"


def test_a_file_is_found_from_the_resolved_recipe_too(write, folder, monkeypatch):
    recipe = load_recipe(write("  systems:\n    one: {extends: other.yaml}\n"))
    (folder / "far").mkdir()
    monkeypatch.chdir(folder / "far")
    (folder / "far" / "recipe.yaml").write_text(recipe.to_yaml())
    again = load_recipe("recipe.yaml")
    assert again.resolved() == recipe.resolved()
    assert the(expand(again)[1]).config("warm").epochs == 9


def test_seeds_train_on_the_same_examples(write):
    runs = runs_of(write("  systems: {few: {slim: {heads: 1}}}\n  seeds: [4, 9]\n"))
    assert [(place, str(run.folder)) for place, run in runs.items()] == [
        ("mine, seed 4", "runs/mine"),
        ("few, seed 4", "runs/mine/compare/few"),
        ("mine, seed 9", "runs/mine/compare/own-9"),
        ("few, seed 9", "runs/mine/compare/few-9"),
    ]
    assert [(the(run).seed, the(run).data.seed) for run in runs.values()] == [
        (4, None),
        (4, None),
        (9, 4),
        (9, 4),
    ]


def test_tasks_lie_over_the_recipe_and_the_first_is_its_own(write):
    name = write(
        "  systems: {few: {slim: {heads: 1}}, one: {extends: other.yaml}}\n"
        "  tasks:\n"
        "    a: {data: {train_size: 30}, slim: {heads: 7, scorer: {name: magnitude}}, warm: {epochs: 1}}\n"
        "    b: {data: {test_size: 20}, warm: {mode: mean}}\n"
    )
    recipe = load_recipe(name)
    assert recipe.config("slim").heads == 7 and recipe.data.train_size == 30
    for source in (recipe, load_recipe_again(recipe)):
        runs = {run.place: the(run) for run in expand(source)}
        assert list(runs) == ["mine, a", "few, a", "one, a", "mine, b", "few, b", "one, b"]
        told = {
            place: (
                r.data.train_size, r.data.test_size, r.config("slim").heads, r.config("slim").scorer["name"]
                if isinstance(r.config("slim").scorer, dict) else r.config("slim").scorer,
                r.config("warm").epochs, r.config("warm").mode,
            )
            for place, r in runs.items()
        }  # fmt: skip
        assert told == {
            "mine, a": (30, None, 7, "magnitude", 1, "first"),
            "few, a": (30, None, 1, "magnitude", 1, "first"),
            "one, a": (30, None, 7, "magnitude", 1, "first"),
            # What the first task set is the recipe's own again.
            "mine, b": (None, 20, 4, "taylor", 3, "mean"),
            "few, b": (None, 20, 1, "taylor", 3, "mean"),
            "one, b": (None, 20, 3, "taylor", 9, "mean"),
        }


def load_recipe_again(recipe):
    from prunekit.recipes import recipe_from_mapping

    return recipe_from_mapping(yaml.safe_load(recipe.to_yaml()))


def test_a_grid_is_all_combinations_tried_with_the_first_seed(write):
    runs = runs_of(
        write(
            "  seeds: [1, 2]\n  systems:\n    few:\n"
            "      grid: {warm.epochs: [1, 2], slim.layers: [[1], [2], [1, 2]]}\n"
        )
    )
    candidates = runs["few, seed 1"].candidates
    assert [(c.recipe.config("warm").epochs, c.recipe.config("slim").layers) for c in candidates] == [
        (1, [1]), (1, [2]), (1, [1, 2]), (2, [1]), (2, [2]), (2, [1, 2]),
    ]  # fmt: skip
    assert candidates[4].settings == {"warm.epochs": 2, "slim.layers": [2]}
    trial = candidates[4].trial
    assert (trial.output, trial.name, trial.config("slim").layers) == ("runs/mine/grid", "few-5", [2])
    assert {c.recipe.name for c in candidates} == {"few"}
    assert [c.trial for c in runs["few, seed 2"].candidates] == [None] * 6


def test_the_recipes_own_grid_is_tried_for_its_own_run(write):
    name = write(
        "  grid: {warm.epochs: [1, 2], slim.heads: [1, 2]}\n  seeds: [7, 8]\n"
        "  systems:\n    other: {slim: {heads: 4}}\n"
    )
    runs = runs_of(name)
    own, again = runs["mine, seed 7"], runs["mine, seed 8"]
    settings = [{"warm.epochs": e, "slim.heads": h} for e in (1, 2) for h in (1, 2)]
    assert [c.settings for c in own.candidates] == [c.settings for c in again.candidates] == settings
    for run, folder in ((own, "runs/mine"), (again, "runs/mine/compare/own-8")):
        assert str(run.folder) == folder and run.subject
        for candidate in run.candidates:
            recipe = candidate.recipe
            assert f"{recipe.output}/{recipe.name}" == folder and recipe.seed == run.seed
            values = recipe.config("warm").epochs, recipe.config("slim").heads
            assert values == tuple(candidate.settings.values())
    trials = [candidate.trial for candidate in own.candidates]
    assert [f"{trial.output}/{trial.name}" for trial in trials] == [
        f"runs/mine/grid/own-{number}" for number in (1, 2, 3, 4)
    ]
    assert {c.trial for c in again.candidates} == {None} and {trial.seed for trial in trials} == {7}
    assert all(trial.compare is None for trial in trials)
    # What others share of the recipe is what it says itself, not what its grid finds.
    assert the(runs["other, seed 7"]).config("warm").epochs == 3


@pytest.mark.parametrize("key", ["finetune.epochs", "exits.reads", "evaluate.max_drop"])
def test_a_grid_tries_its_own_training_alone(key):
    """Not the dense model, which all share, through whatever key; not what is decided after training."""
    values = {"finetune.epochs": "[1, 2]", "exits.reads": "[first, learned]", "evaluate.max_drop": "[0, 1]"}
    recipe = load_recipe("costeff", [f"compare.grid={{{key}: {values[key]}}}"])
    message = (
        "nothing to try" if key.startswith("evaluate") else "the dense model of finetune is shared by all"
    )
    with pytest.raises(RecipeError, match=rf"command line: compare.grid: grid: {key}: .*{message}"):
        expand(recipe)


def test_a_grid_is_turned_off(write):
    name = write("  grid: {warm.epochs: [1, 2]}\n  systems:\n    few: {grid: {warm.epochs: [1, 2]}}\n")
    runs = runs_of(name, "compare.grid=null", "compare.systems.few.grid=null")
    assert [the(run).config("warm").epochs for run in runs.values()] == [3, 3]


def test_a_grid_may_be_mappings_in_mappings(write):
    name = write("  grid: {warm.epochs: [1, 2], slim: {heads: [1]}}\n")
    recipe = load_recipe(name, ["compare.grid.warm.epochs=[4]"])
    assert recipe.compare.grid == {"warm.epochs": [4], "slim.heads": [1]}


def test_a_system_is_left_out(write):
    name = write("  systems: {few: {slim: {heads: 1}}, less: {slim: {heads: 2}}}\n")
    assert list(load_recipe(name, ["compare.systems.few=null"]).compare.systems) == ["less"]
    again = load_recipe(name, ["compare.systems.few=null", "compare.systems.few.warm.epochs=4"])
    assert again.compare.systems["few"].settings == {"warm": {"epochs": 4}}
    assert load_recipe(name, ["compare.systems=null"]).compare.systems == {}


@pytest.mark.parametrize(
    ("compare", "message", "mend"),
    [
        ("  systems: {less: {}}\n", "there is no system 'few' to leave out", "the systems are less"),
        ("  seeds: [1]\n", "there is no system 'few' to leave out", "compared with nothing"),
        ("  systems: [few, less]\n", "compare.systems is a list", "few, less"),
    ],
)
def test_a_system_that_is_not_there_cannot_be_left_out(write, compare, message, mend):
    with pytest.raises(RecipeError, match=f"^command line: compare.systems.few: {message}") as caught:
        load_recipe(write(compare), ["compare.systems.few=null"])
    assert mend in caught.value.mend


def test_an_extended_recipe_gives_its_parts_not_its_comparison(write, folder):
    write("  systems: {few: {slim: {heads: 1}}}\n")
    (folder / "heir.yaml").write_text("extends: mine.yaml\n")
    assert load_recipe("heir.yaml").compare is None


@pytest.mark.parametrize("off", ["compare=null", "compare={}"])
def test_a_comparison_is_turned_off(write, off):
    recipe = load_recipe(write("  systems: {few: {slim: {heads: 1}}}\n"), [off])
    assert recipe.compare is None or not recipe.compare.systems
    assert len(expand(recipe)) == 1


WRONG = [
    ("  sistems: {}\n", r"mine.yaml:3:3: compare.sistems: unknown key", "did you mean 'systems'"),
    ("  systems: {few: {extends: nowhere}}\n", r"mine.yaml:3:19: extends: there is no file nowhere", "shipped"),
    ("  systems: {few: {slim: {haeds: 1}}}\n", r"mine.yaml:3:26: slim.haeds: unknown key \(system few\)", "heads"),
    ("  systems: {few: {slim: {heads: x}}}\n", r"mine.yaml:3:26: slim.heads: expected .*\(system few\)", None),
    ("  systems: {few: {slym: {heads: 1}}}\n", r"mine.yaml:3:19: slym: unknown key \(system few\)", "slim"),
    ("  systems: {mine: {slim: {heads: 1}}}\n", r"mine.yaml:3:13: .*'mine' is the name of the recipe", "--name"),
    ("  systems: {own: {slim: {heads: 1}}}\n", r"mine.yaml:3:13: .*'own' is what .* own other runs", "another name"),
    ("  systems: {a/b: {}}\n", r"mine.yaml:3:3: compare.systems: 'a/b' cannot name a folder", None),
    ("  systems: {few: {data: {train_size: 9}}}\n", r"few: data is shared by all", None),
    ("  systems: {few: {shares: [slim.tails]}}\n", r"mine.yaml:3:28: shares: .* has no slim.tails", None),
    ("  systems: {few: {shares: [slym]}}\n", r"mine.yaml:3:28: shares: the recipe that compares has no stage slym", None),
    ("  systems: {few: {shares: [slim: {but: [haeds]}]}}\n", r"mine.yaml:3:28: shares: slim has no haeds", "heads"),
    ("  systems: {few: {shares: [slim: warm]}}\n", r"3:28: shares: slim is a whole stage", "{but: "),
    ("  systems: {few: {shares: [slim.heads: 3]}}\n", r"3:28: shares: slim.heads: expected a setting .* found 3", "{assistant.epochs: 0.5}"),
    ("  systems: {few: {shares: [slim.haeds: warm.epochs]}}\n", r"3:28: slim.haeds: unknown key", "heads"),
    ("  systems: {few: {shares: [slim.heads: {warm.mode: 1}]}}\n", r"3:28: shares: warm.mode is 'first', expected a number", None),
    ("  systems: {few: {shares: [5]}}\n", r"mine.yaml:3:28: compare.systems.few.shares.0", None),
    ("  systems: {few: {grid: {data.train_size: [9, 20]}}}\n", r"grid: data.train_size is shared by all", None),
    ("  grid: {slim.heads: []}\n", r"compare.grid: slim.heads has no values to try", None),
    ("  grid: {slim.haeds: [1, 2]}\n", r"grid: slim.haeds: unknown key", "heads"),
    ("  grid: {recover.epochs: [1, 2]}\n", r"3:3: grid: recover.epochs: no stage that is trained", "slim"),
    ("  systems: {few: {grid: {training.batch_size: [9]}}}\n", r"grid: training.batch_size is shared by all", None),
    ("  systems: [deebert, other.yaml, deebert]\n", r"'deebert' is there twice", None),
    ("  systems: {few: {grid: {slim.heads: []}}}\n", r"grid: slim.heads has no values", None),
    ("  systems: {few: {grid: {slim.haeds: [1, 2]}}}\n", r"mine.yaml:3:19: grid: slim.haeds: unknown key", "heads"),
    ("  systems: {a: {}, a-2: {}}\n  seeds: [1, 2]\n", r"a-2, seed 1 and a, seed 2 would both lie in", "name"),
    ("  seeds: [1, 1]\n", r"seeds must differ", None),
    ("  seeds: []\n", r"mine.yaml:3:3: compare.seeds: expected at least 1", None),
    ("  seeds: 3\n", r"mine.yaml:3:3: compare.seeds: expected a list, found 3", "compare.seeds='[3]'"),
    ("  grid: {slim: {heads: 3}}\n", r"compare.grid: slim.heads: expected a list of values to try, .* slim.heads: \[3\]", None),
    ("  tasks: {a: {stages: [warm]}}\n", r"a: stages is shared by all", None),
    ("  tasks: {a: {}, b: {warm: {epochs: 0}}}\n", r"mine.yaml:3:29: warm.epochs: ", None),
]  # fmt: skip


@pytest.mark.parametrize(("compare", "message", "mend"), WRONG)
def test_what_is_wrong_is_found_with_its_place(write, compare, message, mend):
    with pytest.raises(RecipeError) as caught:
        expand(load_recipe(write(compare)))
    assert re.search(message, caught.value.message), caught.value.message
    if mend:
        assert mend in str(caught.value)
