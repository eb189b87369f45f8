"""What people, scripts and accidents write where a number, a size or a name is expected."""

from __future__ import annotations

from hypothesis import strategies as st

NUMBERS = (
    *("0", "1", "2", "3", "16", "-1", "-0", "+4", "007", "1_0", "٣", "²", "0x10", "1" + 30 * "0"),
    *("0.5", ".5", "-.5", "1e1", "1e-320", "1e999", "nan", "-inf", "Infinity", "", " ", "9" * 5000),
)
"""None is a size that would take long to compute with: large ones are absurdly large."""

WORDS = (
    "rgb",
    "gray",
    "zero",
    "image",
    "auto",
    "cpu",
    "cuda:0",
    "size>=1",
    "score",
    "relu",
    "None",
)
"""Words that some option takes."""

ODD = ("\udcff", "[/]", "[red]", "\n", "\x1b[2J", "🦊", "é", "{}", "%s", "a" * 300)
"""What is hard to print, to encode, or to have in a file name."""

numbers = st.sampled_from(NUMBERS)
words = st.sampled_from(WORDS + ODD)


def near(*separators: str) -> st.SearchStrategy[str]:
    """Text that is nearly right: numbers and words with separators between them."""
    parts = st.lists(st.one_of(numbers, numbers, words), min_size=1, max_size=5)
    return st.builds(str.join, st.sampled_from(separators), parts)


anything = st.text(st.characters(exclude_characters="\0"), max_size=20)
"""Any text that a command line can hold: no NUL, but lone surrogates, which Python makes of bytes
that are no UTF-8."""
