"""docs/inputs.md: what becomes of every kind of input, written from the corpus itself."""

from pathlib import Path

from tests.hostile.corpus import GROUPS, KINDS
from tests.hostile.kind import Kind

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "inputs.md"

_HEAD = """# Inputs that lie

<!-- Written by `python -m tests.hostile --write`; a test compares it with the corpus. Do not edit it by hand. -->

What `flare-infer predict` does with {count} kinds of input. The tests write each of them into one folder, beside a good
scan, run the command over it, and compare every label map, voxel by voxel and in its geometry, with what it must be.

- A scan is segmented, or refused in one line that names the file and says what was found and what to do. No scan that
  is refused keeps another from being segmented, and the exit code is then 1. There is no traceback without `--debug`.
- A label map has the size, spacing, origin and axes of its scan as ITK reads them; where a header says two things, ITK
  decides.
- No memory is taken for voxels that a file is too short to hold.
- Symbolic links are followed, out of the folder, too. Nothing that stands in a file is ever used as a path.
- Files whose names begin with a dot or have another ending than `.nii.gz`, `.nii`, `.mha` or `.nrrd` are passed over,
  unless they are DICOM by their content: [dicom.md](dicom.md) says what becomes of these.
- A label map is never segmented: a file of nothing but whole numbers from 0 to 14 is refused, and `X_labels`,
  `X_label`, `X_seg` and the like beside `X_0000` or `X` are left out, with one line that counts them. Nothing is
  written into a folder that holds the scans, so that folders that were exchanged do no harm.
- A notice is printed for a scan that is segmented, but looks as if something were wrong with it; also if the liver or
  the gallbladder is found left of spleen or stomach, as can happen where a header exchanges left and right.
"""


def document() -> str:
    """The text of docs/inputs.md."""
    parts = [_HEAD.format(count=len(KINDS))]
    for title, kinds in GROUPS.items():
        rows = [f"| `{kind.name}` | {kind.sentence} | {_what_happens(kind)} |" for kind in kinds]
        parts.append("\n".join([f"\n## {title}\n", "| file | what it is | what happens |", "|---|---|---|", *rows, ""]))
    return "".join(parts)


def _what_happens(kind: Kind) -> str:
    if kind.outcome == "refused":
        return f"refused: `{kind.words}`"
    return f"{kind.outcome}, with a notice: `{kind.words}`" if kind.words else kind.outcome
