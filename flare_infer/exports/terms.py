"""What a class is, in codes of SNOMED CT: how other programs know it, whatever its name.

The codes are those of the standard's context groups for segmentations (PS3.16, CID 7151, 7154, 7192, 7194 and 244).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from flare_infer import labels
from flare_infer.class_names import code_of_name


@dataclass(frozen=True)
class Code:
    """A coded concept.

    Attributes:
        value: the code.
        meaning: its meaning, in words.
        scheme: the coding scheme: SCT is SNOMED CT, DCM the standard's own.
    """

    value: str
    meaning: str
    scheme: str = "SCT"


@dataclass(frozen=True)
class Term:
    """What a class is.

    Attributes:
        kind: what it is, such as a kidney.
        side: of which side of the body; None if it has none.
        region: where it is; None if its kind says so.
        category: the category of its kind.
    """

    kind: Code
    side: Code | None = None
    region: Code | None = None
    category: Code = Code("123037004", "Anatomical Structure")


RIGHT: Final = Code("24028007", "Right")
LEFT: Final = Code("7771000", "Left")
ABDOMEN: Final = Code("818981001", "Abdomen")
TISSUE: Final = Code("85756007", "Tissue")
"""What a class is of which nothing else is known; its category bears the same code."""

_ABNORMAL: Final = Code("49755003", "Morphologically Abnormal Structure")
_LIVER: Final = Code("10200004", "Liver")
_KIDNEY: Final = Code("64033007", "Kidney")
_SPLEEN: Final = Code("78961009", "Spleen")
_PANCREAS: Final = Code("15776009", "Pancreas")
_ADRENAL: Final = Code("23451007", "Adrenal gland")
_STOMACH: Final = Code("69695003", "Stomach")

TERMS: Final[Mapping[int, Term]] = {
    labels.LIVER: Term(_LIVER),
    labels.RIGHT_KIDNEY: Term(_KIDNEY, RIGHT),
    labels.SPLEEN: Term(_SPLEEN),
    labels.PANCREAS: Term(_PANCREAS),
    labels.AORTA: Term(Code("15825003", "Aorta")),
    labels.INFERIOR_VENA_CAVA: Term(Code("64131007", "Inferior vena cava")),
    labels.RIGHT_ADRENAL_GLAND: Term(_ADRENAL, RIGHT),
    labels.LEFT_ADRENAL_GLAND: Term(_ADRENAL, LEFT),
    labels.GALLBLADDER: Term(Code("28231008", "Gallbladder")),
    labels.ESOPHAGUS: Term(Code("32849002", "Esophagus")),
    labels.STOMACH: Term(_STOMACH),
    labels.DUODENUM: Term(Code("38848004", "Duodenum")),
    labels.LEFT_KIDNEY: Term(_KIDNEY, LEFT),
    labels.TUMOR: Term(Code("108369006", "Neoplasm"), region=ABDOMEN, category=_ABNORMAL),
}
"""What each class of the challenge is. Its tumors lie in any organ of the abdomen."""

_SITES: Final[Mapping[str, Code]] = {
    **dict.fromkeys(("liver", "hepatic"), _LIVER),
    **dict.fromkeys(("kidney", "renal"), _KIDNEY),
    **dict.fromkeys(("pancreas", "pancreatic"), _PANCREAS),
    **dict.fromkeys(("spleen", "splenic"), _SPLEEN),
    **dict.fromkeys(("adrenal",), _ADRENAL),
    **dict.fromkeys(("stomach", "gastric"), _STOMACH),
    **dict.fromkeys(("colon", "colorectal"), Code("71854001", "Colon")),
}


def term_of(name: str) -> Term:
    """What a class of that name is; a tissue, by its code, if neither we nor the standard's table know the name.

    Example:
        >>> term_of("kidney_left").kind.value, term_of("kidney_left").side.meaning
        ('64033007', 'Left')
    """
    code = code_of_name(name)
    words = [word for word in re.split(r"[\W_]+", name.lower()) if word]
    if code == labels.TUMOR:
        site = next((_SITES[word] for word in words if word in _SITES), ABDOMEN)
        return replace(TERMS[code], region=site)
    return _of_the_standard(words) if code is None or code not in TERMS else TERMS[code]


def _of_the_standard(words: list[str]) -> Term:
    """The structure that CID 7192 calls by these words, sides apart."""
    from pydicom.sr.codedict import codes  # not before a foreign class is written

    sides = [side for word, side in (("left", LEFT), ("right", RIGHT)) if word in words]
    side = sides[0] if len(sides) == 1 else None
    keyword = "".join(word.capitalize() for word in words if word not in {"left", "right"})
    group: Any = codes.cid7192
    found = getattr(group, keyword, None) if keyword in group.dir(keyword) else None
    if found is None or found.scheme_designator != "SCT":
        return Term(TISSUE, side, category=TISSUE)
    return Term(Code(found.value, found.meaning), side)
