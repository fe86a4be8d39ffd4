"""What players type, made comparable: one spelling, without the class that they were to guess."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import LisError
from ..names import spelling_hint

__all__ = ["class_words", "normalise_label", "plural_forms", "without_class"]

ARTICLES = ("a", "an", "the")


def normalise_label(text: str) -> str:
    """Return a label in small letters, without punctuation, leading articles and double spaces.

    Examples
    --------
    >>> normalise_label("  The long-sleeve!! ")
    'long sleeve'
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    words = re.findall(r"[^\W_]+", re.sub(r"['’]", "", plain))
    while len(words) > 1 and words[0] in ARTICLES:
        words = words[1:]
    return " ".join(words)


def plural_forms(word: str) -> tuple[str, ...]:
    """Return a word and what its English plural may be.

    Examples
    --------
    >>> plural_forms("scarf")
    ('scarf', 'scarfs', 'scarfes', 'scarves')
    """
    found = [word, word + "s", word + "es"]
    if word.endswith("y"):
        found.append(word[:-1] + "ies")
    if word.endswith(("f", "fe")):
        found.append(word.rstrip("e")[:-1] + "ves")
    if word.endswith("man"):
        found.append(word[:-3] + "men")
    return tuple(found)


def class_words(name: str, synonyms: Iterable[str] = ()) -> tuple[str, ...]:
    """Return all that a class is called, normalised, the longest first.

    A name may list several, parted by slashes or commas ("T-shirt/top"); each also as plural and in one word.

    Examples
    --------
    >>> class_words("T-shirt/top")[:3]
    ('t shirtes', 't shirts', 'tshirtes')
    """
    found: dict[str, None] = {}
    for one in (*re.split(r"[/,;]", name), *synonyms):
        words = normalise_label(one)
        if not words:
            continue
        *before, last = words.split()
        for form in plural_forms(last):
            whole = " ".join([*before, form])
            found[whole] = found[whole.replace(" ", "")] = None
    return tuple(sorted(found, key=lambda one: (-len(one), one)))


def without_class(label: str, words: Sequence[str]) -> str:
    """Return a normalised label without these words; empty where it says nothing else.

    Only whole words go: of class "top", "laptop" stays.

    Examples
    --------
    >>> without_class("collar of the coat", class_words("Coat"))
    'collar'
    """
    left = f" {label} "
    for one in words:
        while f" {one} " in left:
            left = left.replace(f" {one} ", " ")
    if left.strip() == label:
        return label
    rest = left.split()
    while rest and rest[-1] in (*ARTICLES, "of", "on", "in"):  # what is left hanging
        rest.pop()
    while rest and rest[0] in (*ARTICLES, "of", "on", "in"):
        rest.pop(0)
    return " ".join(rest)


def checked_synonyms(
    synonyms: Mapping[str, Any] | None, classes: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """Return further names of classes, each class one of those that were explained.

    Raises
    ------
    LisError : what is no mapping of class names to lists of texts, a class that no answer is of.
    """
    known, found = tuple(dict.fromkeys(classes)), {}
    if synonyms is not None and not isinstance(synonyms, Mapping):
        raise LisError(
            f"synonyms are {type(synonyms).__name__}; {{class name: [further names]}} was expected."
        )
    for name, given in (synonyms or {}).items():
        if name not in known:
            raise LisError(
                f"synonyms are given for class {name!r}, of which there are no answers; there are some of "
                f"{', '.join(map(repr, known))}.{spelling_hint(str(name), known)}"
            )
        listed = (
            (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
        )
        if not all(isinstance(one, str) for one in listed):
            raise LisError(f"the synonyms of class {name!r} are {given!r}; texts were expected.")
        found[name] = listed
    return found
