"""Words to concepts: stop words dropped, endings cut, a few synonyms joined."""

from __future__ import annotations

from functools import lru_cache

__all__ = ["concept"]

_STOP_WORDS = (
    "a an and are as at be been but by for from has have he her his how i in into is it its of on or our out over "
    "she so than that the their them then there these they this to up was we were what when which while who with "
    "you your"
)
_STOP = frozenset(_STOP_WORDS.split())

_SYNONYMS = (
    "dog puppy hound shepherd aussie terrier collie canine",
    "cat kitten",
    "jump leap hop vault",
    "run sprint race",
    "car automobile vehicle taxi",
    "road street highway lane",
    "city town downtown urban",
    "night evening dusk midnight",
    "cook fry simmer bake roast",
    "chef baker",
    "food meal dish",
    "surf surfer surfboard",
    "sea ocean",
    "film movie video clip",
    "speak talk say",
    "speaker lecturer professor presenter",
    "lecture talk lesson class",
    "picture photo photograph image",
    "shoe sneaker boot",
    "people person man woman crowd",
    "happy joyful cheerful glad",
    "sad gloomy sorrowful",
    "song music melody tune",
    "bike bicycle",
    "child kid toddler",
)


def _stem(word: str) -> str:
    for ending in ("ings", "ing", "ers", "ies", "ied", "es", "ed", "er", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiols":
        word = word[:-1]
    return word.rstrip("e") if len(word) > 3 else word


_CONCEPTS = {_stem(word): group.split()[0] for group in reversed(_SYNONYMS) for word in group.split()}


@lru_cache(maxsize=16_384)
def concept(word: str) -> str | None:
    """The concept behind a lower-case word, or None for one that says nothing."""
    if word in _STOP:
        return None
    stem = _stem(word)
    return _CONCEPTS.get(stem, stem)
