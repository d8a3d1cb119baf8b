"""What is held out of SST-2, against a comparison of every text with every other."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from whole_sentences import divided, sentences_of

TEXTS = st.lists(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=8).map(" ".join),
    min_size=1,
    max_size=25,
    unique=True,
)


def contained(inner, outer):
    inner, outer = inner.split(), outer.split()
    return any(outer[start : start + len(inner)] == inner for start in range(len(outer)))


@given(TEXTS)
@settings(max_examples=150, deadline=None)
def test_sentences_are_the_texts_that_are_in_no_other(texts):
    whole = [
        place
        for place, text in enumerate(texts)
        if not any(contained(text, other) for other in texts if other != text)
    ]
    for place, found in enumerate(sentences_of(texts)):
        assert sorted(found) == [outer for outer in whole if contained(texts[place], texts[outer])]


@given(TEXTS, st.integers(0, 10), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_nothing_that_is_only_in_held_out_sentences_is_trained_on(texts, count, seed):
    train, held = divided(texts, count, seed)
    assert len(held) <= count and all(len(texts[place].split()) >= 5 for place in held)
    sentences = sentences_of(texts)
    assert train == [place for place in range(len(texts)) if not set(sentences[place]) <= set(held)]
    assert not set(train) & set(held)
