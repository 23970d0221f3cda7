"""Every kind of input, in groups."""

from tests.hostile import containers, headers, names, text_formats, voxels
from tests.hostile.kind import Kind

GROUPS: dict[str, tuple[Kind, ...]] = {
    "Cut, damaged, mislabeled": containers.KINDS,
    "Headers": headers.KINDS,
    "Voxels and sizes": voxels.KINDS,
    "MetaImage and NRRD": text_formats.KINDS,
    "Names, and other files": names.NAMES,
    "What is no plain file": names.FILE_SYSTEM,
}

KINDS: tuple[Kind, ...] = tuple(kind for kinds in GROUPS.values() for kind in kinds)
