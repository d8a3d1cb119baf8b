"""What a comparison of given runs says of them, and when it is written again."""

from dataclasses import replace

import pytest

from prunekit.comparison import check_systems, write_comparison
from prunekit.comparison.collecting import _common_names, _stem, collect
from prunekit.comparison.notes import effort_notes
from prunekit.errors import RunError
from prunekit.recipes import expand, load_recipe
from prunekit.reports import read_report


def changed(one, **sections):
    """The run, as if its recipe's sections were otherwise."""
    told = {name: getattr(one.recipe, name).model_copy(update=update) for name, update in sections.items()}
    return replace(one, recipe=one.recipe.model_copy(update=told))


def first_two(whole):
    """The subject's and the hotter's run with the first seed."""
    subject, hotter = (
        next(one for one in whole[1] if (one.run.system, one.run.seed) == (name, 7))
        for name in ("subject", "hotter")
    )
    return subject, hotter


def otherwise(runs):
    return [note for note in collect(runs)[1].notes if "not all else is alike" in note]


def test_systems_of_one_recipe_have_all_else_alike(whole):
    assert otherwise(whole[1]) == []
    (note,) = (n for n in collect(whole[1])[1].notes if "is not recorded" in n)
    assert note.startswith("subject, Hot: one setting was trained here")


def test_what_exits_read_and_what_the_policy_may_lose_is_said(whole):
    subject, hotter = first_two(whole)
    other = changed(hotter, exits={"reads": "learned", "head": "pooled"}, evaluate={"max_drop": 0.3})
    (note,) = otherwise([subject, other])
    assert 'exits.reads "learned" instead of "mean"' in note
    assert f"evaluate.max_drop 0.3 instead of {subject.recipe.config('evaluate').max_drop}" in note
    assert "exits.head" not in note  # a system's own


@pytest.mark.parametrize(("more", "told"), [(0, False), (0.019, False), (0.03, True), (-0.5, True)])
def test_who_was_trained_longer_is_said(whole, more, told):
    runs = first_two(whole)
    reports = [read_report(one.folder / "report") for one in runs]
    for report, steps in zip(reports, (1000, round(1000 * (1 + more))), strict=True):
        report.systems[0] = replace(report.systems[0], steps=steps)
    words = f"On reviews Hot was trained for {1000 * (1 + more):,.0f} optimizer steps, subject for 1,000: "
    assert [note for note in effort_notes(runs, reports) if "not the same effort" in note] == (
        [words + "not the same effort."] if told else []
    )


def test_that_grids_chose_how_long_is_said(whole):
    reports = [read_report(one.folder / "report") for one in first_two(whole)]
    for report, steps in zip(reports, (1000, 2000), strict=True):
        report.systems[0] = replace(report.systems[0], steps=steps)

    def tried(one, key):
        candidates = [replace(candidate, settings={key: 2}) for candidate in one.run.candidates]
        return replace(one, run=replace(one.run, candidates=candidates))

    subject, hotter = first_two(whole)
    for keys, words in (
        (("assistant.epochs", "assistant.epochs"), "each for as long as its grid chose"),
        (("assistant.learning_rate", "assistant.epochs"), "not the same effort"),
    ):
        notes = effort_notes([tried(subject, keys[0]), tried(hotter, keys[1])], reports)
        assert f"On reviews Hot was trained for 2,000 optimizer steps, subject for 1,000: {words}." in notes


def test_other_data_or_training_is_said(whole):
    subject, hotter = first_two(whole)
    other = changed(
        hotter,
        training={"max_length": 9, "eval_batch_size": 3},
        data={"validation_size": 11},
        model={"name": "builtin:tiny"},
    )
    (note,) = otherwise([subject, other])
    before = subject.recipe
    assert note.startswith("On reviews not all else is alike. Hot, set against subject: model.name ")
    for words in (
        f"training.max_length 9 instead of {before.training.max_length}",
        "data.validation_size 11 instead of ",
        '"builtin:tiny" instead of "builtin:small-encoder"',
    ):
        assert words in note
    assert "eval_batch_size" not in note and "assistant" not in note
    assert "data.seed 5 instead of 7" in otherwise([subject, changed(hotter, data={"seed": 5})])[0]
    # Every difference once, with the systems it is that of.
    third = replace(other, run=replace(other.run, system="third", label="Third"))
    assert "Hot, Third, set against subject" in otherwise([subject, other, third])[0]


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        ("mine", 2), ("mine-2", 2), ("mine-seed2", 2), ("mine_s-2", 2), ("mine-mrpc", 2), ("mine-mrpc-2", 2),
        ("mine-2-mrpc", 2), ("mine.mrpc.seed_2", 2), ("mine", 3),
    ],
)  # fmt: skip
def test_a_system_is_what_a_name_says_before_task_and_seed(name, seed):
    assert _stem(name, "mrpc", seed) == "mine"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_of_a_name_that_ends_in_a_number_only_the_seed_is_taken_off(seed):
    assert _stem(f"heads-2-{seed}", "mrpc", seed) == "heads-2"
    assert _stem(f"mrpc-{seed}", "mrpc", seed) == "mrpc"
    assert _stem(f"mrpc-mrpc-{seed}", "mrpc", seed) == "mrpc"


def test_systems_of_one_name_that_differ_are_found_before_they_are_trained():
    recipes = ["costeff", "deebert"]
    with pytest.raises(RunError, match="are both deebert, reviews, 42, and differ") as caught:
        check_systems([expand(load_recipe(name)) for name in recipes])
    assert "compare=null" in caught.value.mend
    check_systems([expand(load_recipe(name, ["compare=null"])) for name in recipes])


def test_the_recipes_own_model_goes_by_its_label_where_no_other_bears_it():
    def own(name, *overrides):
        return expand(load_recipe("costeff", ["compare.systems={}", f"name={name}", *overrides]))[0]

    def named(*runs):
        return [tuple(one) for one in _common_names(runs)]

    label = "compare.label=COST-EFF"
    assert own("mine", label).label == "COST-EFF" and own("mine", label).system == "mine"
    assert own("mine").label == "mine"
    one, two = own("mine-1", label, "seed=1"), own("mine-2", label, "seed=2")
    assert named(one, two) == [("mine", "COST-EFF")] * 2
    other = own("wide-1", label, "seed=1")
    assert named(one, two, other) == [("mine", "mine"), ("mine", "mine"), ("wide", "wide")]
    assert named(one, own("wide-1", "seed=1")) == [("mine", "COST-EFF"), ("wide", "wide")]


def test_another_number_of_examples_is_said(whole, monkeypatch):
    subject, hotter = first_two(whole)
    reports = {one.folder / "report": read_report(one.folder / "report") for one in (subject, hotter)}
    there = hotter.folder / "report"
    reports[there] = replace(reports[there], task_note="20000 training examples")
    monkeypatch.setattr("prunekit.reports.read_report", reports.__getitem__)
    (note,) = otherwise([subject, hotter])
    assert "20000 training examples instead of 100 training" in note


def test_written_again_for_another_subject_or_order(whole, tmp_path):
    subject, hotter = first_two(whole)

    def written(*runs):
        write_comparison(runs, tmp_path)
        report = read_report(tmp_path)
        made = (tmp_path / "report.json").stat().st_mtime_ns
        return report.name, [s.name for s in report.comparison.systems], made

    one = written(subject, hotter)
    assert one[:2] == ("subject", ["subject", "hotter"])
    assert written(subject, hotter) == one
    other = written(hotter, subject)
    assert other[:2] == ("hotter", ["hotter", "subject"]) and other[2] != one[2]
    assert written(hotter, subject) == other
    renamed = replace(hotter, run=replace(hotter.run, label="Hotter"))
    assert written(renamed, subject)[2] != other[2]
