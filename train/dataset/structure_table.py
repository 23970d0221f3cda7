"""Which class of the challenge a segment or region of interest of DICOM is: by a table, by codes, and by names.

A table is a file as `label_mapping` reads it. Its keys are names of structures, or SNOMED CT codes of what a structure
is, with a slash and the code of its side if it has one::

    "GTVp" = "tumor"
    "64033007/7771000" = "left kidney"
    "Body" = "background"

Upper and lower case of names make no difference. What is mapped to background is left out without a word; `*` stands
for every structure that is not known otherwise.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from flare_infer import labels
from flare_infer.class_names import code_of_name
from flare_infer.dicom.structures import Coded, Structure
from flare_infer.exports.terms import ABDOMEN, TERMS
from train.dataset.label_mapping import OTHERS, LabelMapping

if TYPE_CHECKING:
    from pydicom.sr.coding import Code

_ORGANS: Final[Mapping[tuple[str, str], int]] = {
    (term.kind.value, "" if term.side is None else term.side.value): code
    for code, term in TERMS.items()
    if code != labels.TUMOR
}
"""Classes by the SNOMED CT codes of what a structure is and of its side."""

_NEOPLASMS: Final = (TERMS[labels.TUMOR].kind.value, "86049000", "14799000", "372087000", "363346000")
"""Neoplasm; malignant neoplasm, primary, or secondary; primary malignant, and malignant, neoplastic disease."""

_COLON: Final = "71854001"
_SITES: Final = (ABDOMEN.value, _COLON, *dict.fromkeys(kind for kind, _ in _ORGANS))
"""Where a neoplasm is the challenge's tumor: abdomen, colon, and the organs."""


def class_of(structure: Structure, table: LabelMapping | None) -> int | None:
    """The code of the class that a structure is; background for one that is to be left out, None for one not known.

    A structure whose code and name mean two different classes, such as two sides, is not known.

    Args:
        structure: the structure.
        table: what the user said; it takes precedence.
    """
    said = {} if table is None else {key.casefold(): code for key, code in table.codes.items()}
    keys = [structure.name.casefold()]
    if structure.kind is not None:
        if structure.side is not None:
            keys.append(f"{structure.kind.value}/{structure.side.value}")
        keys.append(structure.kind.value)
    for key in keys:
        if key in said:
            return said[key]
    known = _by_itself(structure)
    return said.get(OTHERS) if known is None else known


def _by_itself(structure: Structure) -> int | None:
    by_code, by_name = _by_code(structure), code_of_name(structure.name)
    if by_name == labels.BACKGROUND:
        by_name = None  # a structure of that name is drawn, whatever it is
    if by_code is None or by_name is None or by_code == by_name:
        return by_name if by_code is None else by_code
    return None


def _by_code(structure: Structure) -> int | None:
    """The class that a structure's codes mean, those of the older scheme SRT included."""
    kind, side = structure.kind, structure.side
    if kind is None:
        return None
    for (value, of_side), code in _ORGANS.items():
        if _is(kind, value) and (not of_side or _is(side, of_side)):
            return code
    in_abdomen = any(_is(structure.region, site) for site in _SITES)
    return labels.TUMOR if in_abdomen and any(_is(kind, value) for value in _NEOPLASMS) else None


def _is(found: Coded | None, value: str) -> bool:
    return found is not None and _known(found.value, found.scheme) == _known(value, "SCT")


def _known(value: str, scheme: str) -> "Code":
    from pydicom.sr.coding import Code

    return Code(value, scheme, "")
