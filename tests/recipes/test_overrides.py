"""Merging recipes and setting keys from the command line."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunekit.errors import RecipeError
from prunekit.recipes.overrides import apply_overrides, merge
from prunekit.recipes.source import Location, dump, parse

BASE = """\
name: base
slenderize:
  heads: 2
  scorer: {name: taylor, batches: 8}
  layers: [1, 2, 3]
phases:
  - {epochs: 1, lr: 1e-5}
  - {epochs: 2}
"""


def source():
    return parse(BASE, "base.yaml")


def test_values_are_yaml_and_the_later_override_wins():
    changed = apply_overrides(
        source(),
        ["slenderize.heads=4", "slenderize.heads=5", "seed=7", "data.task=mrpc", "a.b.c=[1, 2e-3]", "note="],
    )
    assert changed.data["slenderize"]["heads"] == 5
    assert changed.data["slenderize"]["scorer"] == {"name": "taylor", "batches": 8}
    assert (changed.data["seed"], changed.data["data"]) == (7, {"task": "mrpc"})
    assert changed.data["a"] == {"b": {"c": [1, 0.002]}}
    assert changed.data["note"] is None
    assert str(changed.marks["slenderize", "heads"]) == "command line: slenderize.heads"
    assert changed.marks["slenderize", "layers"] == Location("base.yaml", 5, 3)


def test_an_equals_sign_belongs_to_the_value():
    assert apply_overrides(source(), ["data.train_file=a=b.tsv"]).data["data"]["train_file"] == "a=b.tsv"


def test_list_items_go_by_index():
    changed = apply_overrides(source(), ["phases.1.epochs=9", "slenderize.layers.0=6"])
    assert changed.data["phases"] == [{"epochs": 1, "lr": 1e-5}, {"epochs": 9}]
    assert changed.data["slenderize"]["layers"] == [6, 2, 3]
    assert changed.marks["phases", "0", "lr"] == Location("base.yaml", 7, 17)
    assert changed.marks["slenderize", "layers", "1"].source == "base.yaml"
    assert changed.marks["phases", "1", "epochs"].source == "command line: phases.1.epochs"


def test_overrides_leave_what_they_were_given_alone():
    before = source()
    data = copy.deepcopy(before.data)
    apply_overrides(before, ["phases.0.epochs=9", "slenderize.heads=1", "slenderize.scorer={name: random}"])
    assert before.data == data


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("slenderize.heads", "'slenderize.heads' is not an override"),
        ("=3", "'=3' is not an override"),
        ("a..b=3", "is not an override"),
        (".a=3", "is not an override"),
        ("slenderize.layers.3=1", "slenderize.layers is a list of 3, and '3' is not an index into it"),
        ("slenderize.layers.-1=1", "'-1' is not an index"),
        ("slenderize.layers.x=1", "'x' is not an index"),
        ("slenderize.layers.0.x=1", "slenderize.layers.0 is 1, which has no keys"),
        ("name.x=1", "name is 'base', which has no keys"),
        ("a=[1", r"command line: a:1:\d+: not valid YAML"),
    ],
)
def test_bad_overrides(override, part):
    with pytest.raises(RecipeError, match=part) as caught:
        apply_overrides(source(), [override])
    assert "command line" in caught.value.message


def test_merge_goes_key_by_key_and_names_who_set_what():
    over = parse("slenderize:\n  heads: 6\n  layers: [9]\nnew: 1\n", "over.yaml")
    merged = merge(source(), over)
    assert merged.data["slenderize"] == {
        "heads": 6,
        "scorer": {"name": "taylor", "batches": 8},
        "layers": [9],
    }
    assert merged.marks["slenderize", "heads"] == Location("over.yaml", 2, 3)
    assert merged.marks["slenderize", "scorer"].source == "base.yaml"
    assert ("slenderize", "layers", "1") not in merged.marks


def test_another_part_replaces_the_part_whole_and_the_same_part_is_changed():
    other = merge(source(), parse("slenderize: {scorer: {name: random, seed: 3}}", "o"))
    assert other.data["slenderize"]["scorer"] == {"name": "random", "seed": 3}
    same = merge(source(), parse("slenderize: {scorer: {name: taylor, seed: 3}}", "o"))
    assert same.data["slenderize"]["scorer"] == {"name": "taylor", "batches": 8, "seed": 3}


def test_null_takes_a_setting_back():
    assert merge(source(), parse("slenderize: {scorer: null}", "o")).data["slenderize"]["scorer"] is None


KEYS = st.sampled_from("abc")
TREE = st.dictionaries(
    KEYS, st.recursive(st.integers(0, 9), lambda t: st.dictionaries(KEYS, t, max_size=3)), max_size=3
)


def _obvious(base, over):
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _obvious(result[key], value) if both else value
    return result


@given(TREE, TREE)
def test_merge_equals_the_obvious_merge(base, over):
    merged = merge(parse(dump(base), "base"), parse(dump(over), "over"))
    assert merged.data == _obvious(base, over)
    assert set(merged.marks) == _paths(merged.data)
    for path in _paths(over):
        # A mapping that both have stands where it stood; what is in it was set by the one that set it.
        both = isinstance(_at(base, path), dict) and isinstance(_at(over, path), dict)
        assert merged.marks[path].source == ("base" if both else "over")


def _at(data, path):
    for key in path:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _paths(data, path=()):
    found = set()
    for key, value in data.items():
        found |= {(*path, key)} | (_paths(value, (*path, key)) if isinstance(value, dict) else set())
    return found
