"""What public datasets call the classes: a name decides what a label is, whatever code it has there.

Upper and lower case, spaces, underscores, hyphens and brackets make no difference. Names of AbdomenAtlas, AMOS, BTCV,
CHAOS, FLARE, KiTS, LiTS, the Medical Segmentation Decathlon, TotalSegmentator and WORD are known, their misspellings
included. What may be two things is known as neither: a kidney without its side, a lesion that may be a cyst.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from flare_infer import labels

_UNSIDED: Final[Mapping[int, tuple[str, ...]]] = {
    labels.BACKGROUND: ("background", "bg", "clear label"),
    labels.LIVER: ("liver", "liv"),
    labels.SPLEEN: ("spleen", "spl"),
    labels.PANCREAS: ("pancreas", "pan"),
    labels.AORTA: ("aorta", "arota"),
    labels.INFERIOR_VENA_CAVA: ("inferior vena cava", "ivc", "postcava", "post cava", "postcaval vein", "vena cava"),
    labels.GALLBLADDER: ("gallbladder", "gall", "gb"),
    labels.ESOPHAGUS: ("esophagus", "oesophagus", "eso"),
    labels.STOMACH: ("stomach", "sto"),
    labels.DUODENUM: ("duodenum", "duo"),
}
_SIDED: Final[Mapping[tuple[int, int], tuple[str, ...]]] = {
    (labels.RIGHT_KIDNEY, labels.LEFT_KIDNEY): ("kidney", "kid"),
    (labels.RIGHT_ADRENAL_GLAND, labels.LEFT_ADRENAL_GLAND): ("adrenal gland", "adrenal", "suprarenal gland"),
}
_ABBREVIATED: Final[Mapping[str, int]] = {
    "rk": labels.RIGHT_KIDNEY,
    "lk": labels.LEFT_KIDNEY,
    "rad": labels.RIGHT_ADRENAL_GLAND,
    "lad": labels.LEFT_ADRENAL_GLAND,
    "rag": labels.RIGHT_ADRENAL_GLAND,
    "lag": labels.LEFT_ADRENAL_GLAND,
}
_SIDES: Final = (("right", "r", "rt"), ("left", "l", "lt"))
_TUMOR: Final = ("tumor", "tumour", "cancer", "tumors", "tumours")
_SITES: Final = (
    *("liver", "hepatic", "kidney", "renal", "pancreas", "pancreatic", "spleen", "splenic"),
    *("adrenal", "stomach", "gastric", "colon", "colorectal", "abdominal"),
)
_BRACKETED: Final = re.compile(r"(.+?)\s*\(([^()]+)\)")


def code_of_name(name: str) -> int | None:
    """The code of the challenge, background included, that a dataset's name for a class means; None if it means none.

    A name in brackets behind another one must mean the same: "Right Adrenal Gland (RAG)".

    Example:
        >>> code_of_name("kidney_right"), code_of_name("postcava"), code_of_name("heart")
        (2, 6, None)
    """
    code = _CODES.get(letters(name))
    bracketed = _BRACKETED.fullmatch(name.strip())
    if code is None and bracketed is not None:
        outside, inside = (_CODES.get(letters(part)) for part in bracketed.groups())
        return outside if outside == inside else None
    return code


def lesion_codes(names: Sequence[str], tumor_organs: Sequence[int] = ()) -> tuple[int, ...]:
    """Codes of a model's classes that hold lesions: those whose names mean tumor, and the tumors its spec speaks of.

    Args:
        names: name of every class of the model; the index is the code.
        tumor_organs: see `ModelSpec`; if there are any, the challenge's code of the tumors is one in this model, too.

    Example:
        >>> lesion_codes(["background", "kidney", "kidney tumor", "cyst"])
        (2,)
    """
    named = {code for code, name in enumerate(names) if code_of_name(name) == labels.TUMOR}
    return tuple(sorted(named | ({labels.TUMOR} if tumor_organs else set())))


def letters(name: str) -> str:
    """What is compared: without case and without what stands between words."""
    return re.sub(r"[\s_\-.,:/()\[\]]+", "", name.casefold())


def _spellings() -> Iterator[tuple[str, int]]:
    for code, names in _UNSIDED.items():
        yield from ((name, code) for name in names)
    for codes, names in _SIDED.items():
        for code, sides in zip(codes, _SIDES, strict=True):
            yield from ((f"{side} {name}", code) for side in sides for name in names)
            yield from ((f"{name} {side}", code) for side in sides for name in names)
    yield from _ABBREVIATED.items()
    yield from ((name, labels.TUMOR) for name in (*_TUMOR, "colon cancer primaries"))
    for site in _SITES:
        yield from ((f"{site} {tumor}", labels.TUMOR) for tumor in _TUMOR)
        yield from ((f"{tumor} {site}", labels.TUMOR) for tumor in _TUMOR)


_CODES: Final[Mapping[str, int]] = {letters(name): code for name, code in _spellings()}
