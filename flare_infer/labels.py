"""The label codes of the FLARE 2023 challenge: the only place where 14 is a number."""

from typing import Final

BACKGROUND: Final = 0
LIVER: Final = 1
RIGHT_KIDNEY: Final = 2
SPLEEN: Final = 3
PANCREAS: Final = 4
AORTA: Final = 5
INFERIOR_VENA_CAVA: Final = 6
RIGHT_ADRENAL_GLAND: Final = 7
LEFT_ADRENAL_GLAND: Final = 8
GALLBLADDER: Final = 9
ESOPHAGUS: Final = 10
STOMACH: Final = 11
DUODENUM: Final = 12
LEFT_KIDNEY: Final = 13
TUMOR: Final = 14

NAMES: Final[tuple[str, ...]] = (
    "background",
    "liver",
    "right kidney",
    "spleen",
    "pancreas",
    "aorta",
    "inferior vena cava",
    "right adrenal gland",
    "left adrenal gland",
    "gallbladder",
    "esophagus",
    "stomach",
    "duodenum",
    "left kidney",
    "tumor",
)
"""Name of each code, background included; the index is the code."""

CODES: Final[tuple[int, ...]] = tuple(range(1, len(NAMES)))
"""The classes that can be annotated and scored: 13 organs and tumor, without background."""

ORGANS: Final[tuple[int, ...]] = CODES[:-1]
"""The 13 organs, without tumor."""

KIDNEYS: Final[tuple[int, int]] = (RIGHT_KIDNEY, LEFT_KIDNEY)
ADRENAL_GLANDS: Final[tuple[int, int]] = (RIGHT_ADRENAL_GLAND, LEFT_ADRENAL_GLAND)
"""The right one first."""

HOLLOW_ORGANS: Final[tuple[int, ...]] = (ESOPHAGUS, STOMACH, DUODENUM)
"""Organs whose inside may be gas: air within the body is no proof against them."""

KNOWN_BACKGROUND: Final = 255
"""Code used only in prepared training labels: background for every class, those not annotated in the case included."""

IGNORED: Final = 254
"""Code used only in training patches: what is here is unknown, and no loss counts the voxel."""
