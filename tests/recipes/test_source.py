"""YAML that remembers where its keys were set."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunekit.errors import RecipeError
from prunekit.recipes.source import Location, dump, parse, parse_value

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
# Words that one YAML or another takes for something else.
TRICKY = st.sampled_from(
    [
        "1e-5",
        "1.",
        "no",
        "Yes",
        "off",
        "2024-01-01",
        "12:30:45",
        "0x1f",
        "010",
        "~",
        "",
        "null",
        "<<",
        "=",
        ".5",
    ]
)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT | TRICKY
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | TRICKY, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(TEXT | TRICKY, VALUE, max_size=4))
def test_what_is_dumped_reads_back_the_same(data):
    read = parse(dump(data), "x").data
    assert read == data
    assert list(read) == list(data)
    assert [type(value) for value in read.values()] == [type(value) for value in data.values()]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("-1E3", -1000.0),
        ("3", 3),
        ("3.0", 3.0),
        (".inf", math.inf),
        ("true", True),
        ("no", "no"),
        ("off", "off"),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("010", "010"),
        ("null", None),
        ("", None),
        ("'7'", "7"),
        ("[1, two]", [1, "two"]),
        ("{a: 1}", {"a": 1}),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    read = parse_value(text, "x")
    assert read == value and type(read) is type(value)


def test_marks_name_line_and_column():
    source = parse("name: a\nslenderize:\n  heads: 2\n  layers:\n    - 1\n    - {x: 1}\n", "r.yaml")
    assert source.marks["slenderize", "heads"] == Location("r.yaml", 3, 3)
    assert source.marks["slenderize", "layers", "0"] == Location("r.yaml", 5, 7)
    assert source.marks["slenderize", "layers", "1", "x"] == Location("r.yaml", 6, 8)
    assert str(source.marks["slenderize", "heads"]) == "r.yaml:3:3"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: 1\nb: 2\na: 3\n", r"r.yaml:3:1: a: the key is there twice, first in line 1"),
        ("a:\n  b: 1\n  b: 2\n", r"r.yaml:3:3: a.b: the key is there twice"),
        ("a: [1\nb: 2\n", r"r.yaml:2:\d+: not valid YAML"),
        ("a: b: c\n", r"r.yaml:1:5: not valid YAML"),
        ("\ta: 1\n", r"r.yaml:1:1: not valid YAML"),
        ("a: \x00\n", r"r.yaml: not valid YAML"),
        ("", r"r.yaml: the file is empty"),
        ("# only a comment\n", r"r.yaml: the file is empty"),
        ("- a\n", r"r.yaml:1: expected a mapping \(key: value\), found a list"),
        ("word\n", r"r.yaml:1: expected a mapping \(key: value\), found the value 'word'"),
        ("? [a]\n: 1\n", r"r.yaml:1:3: the recipe: a key is a word, not a list"),
        ("a: !!python/object/apply:os.getcwd []\n", r"r.yaml:1:4: a: the tag .* is not read"),
        ("a: !custom 3\n", r"r.yaml:1:4: a: the tag '!custom' is not read"),
        ("a: !!int word\n", r"r.yaml:1:4: a: the value 'word' does not fit the tag !!int"),
        ("a: &x\n  b: *x\n", r"an alias that never ends"),
        ("a: 1\n---\nb: 2\n", r"r.yaml:2:1: not valid YAML"),
        ("a: {<<: 3}\n", r"r.yaml:1:9: a: << merges mappings, found the value '3'"),
        ("a: " + "[" * 5000, r"r.yaml.*not valid YAML"),
    ],
)
def test_bad_yaml_names_its_place(text, part):
    with pytest.raises(RecipeError, match=part):
        parse(text, "r.yaml")


def test_a_bomb_of_aliases_is_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(RecipeError, match="an alias that never ends"):
        parse("\n".join(lines), "r.yaml")


def test_anchors_and_merge_keys():
    source = parse("base: &b {x: 1, y: 2}\nmore:\n  <<: *b\n  y: 3\n", "r.yaml")
    assert source.data["more"] == {"x": 1, "y": 3}
    assert source.marks["more", "y"].line == 4
