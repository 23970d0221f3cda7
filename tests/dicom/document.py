"""docs/dicom.md, written from what happens."""

import re
from pathlib import Path

from tests.dicom.kinds import KINDS, Kind
from tests.dicom.trial import Outcome, tried

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "dicom.md"
_BEGIN = """# DICOM

<!-- Written by `python -m tests.dicom --write`; a test compares it with what happens. Do not edit it by hand. -->

`flare-infer predict` takes series of DICOM files as they are: a folder of any depth, which may hold NIfTI cases
besides (these are looked for in the folder itself; a line says how many lie below it), one file of a series (then the
others of its folder are read with it), or a `.zip`. It needs the extra `dicom`
(`pip install "flare-infer[dicom]"`), which the container image has.

<!-- not run: no series of DICOM files lies in the checkout -->
```sh
flare-infer series FOLDER              # what is there, usable or why not; no dates, no patient's data
flare-infer predict FOLDER OUTPUTS     # each axial CT series of at least 10 slices becomes a case
flare-infer predict FOLDER OUTPUTS --series largest      # of each study that of the most slices
flare-infer predict FOLDER OUTPUTS --series UID          # one, by its SeriesInstanceUID or the name of its case
```

- A case is called `ct_` and 12 digits of a hash of its SeriesInstanceUID, with `_1`, `_2` behind it where one series
  holds several volumes. Neither label maps, their names, reports nor messages hold a patient's name, birth date or ID,
  a date, or the names of DICOM files. A SeriesDescription and a SeriesInstanceUID are shown by `flare-infer series`
  alone, and with `--folders` in which folders a series lies, whose names may be a patient's.
- Label maps are NIfTI on the grid of the series: its rows and columns, its slices along their normal.
- Slices of a tilted gantry are shifted within their planes, by parts of a pixel, until they lie upright behind each
  other, and air fills what is left; the label map lies on that larger grid, whose axes are at right angles, as ITK and
  3D Slicer ask, and which is turned against the table by the tilt. In Python, `flare_infer.dicom.tilt.labels_on_slices`
  brings labels back to the pixels of the source slices.
- What tells phases and reconstructions of one series apart is tried in this order: acquisition number, temporal
  position, stack, kernel, image type, contrast agent, tube voltage; then all of them together.
- Padding becomes air (-1024 HU), whatever its value. Values are whole numbers where slope and intercept are.
- Hidden files, links to folders, and archives in a folder are passed over. What an archive says is never used as a
  path; what is unpacked lies in a temporary folder until the command ends.
- Uncompressed, deflated, RLE, JPEG (baseline, 12 bits, without loss), JPEG-LS and JPEG 2000 are read; a syntax beyond
  is refused by its name. What is decoded with loss is what DCMTK decodes.
- 554 slices of 512 x 512 take half as long again as the same scan as `.nii.gz` to find and read, if they are not
  compressed; if they are, decoding takes several times that ([numbers](../benchmarks/results/dicom_reading.md)).
  What a tilt changes in the labels is [measured](../benchmarks/results/gantry_tilt.md), too.
- Series that are refused fail as cases, with one line each and exit code 1; the other cases go on.

Each kind below is written by the tests, read as the command reads it, and compared with the truth, voxel by voxel and
in its place in the patient. Beside it stands what the reader of series in SimpleITK gives for the same folder.

| found | what happens | SimpleITK's own reader |
|---|---|---|
"""


_END = """
Files that others wrote, read voxel for voxel as pydicom's own decoders read them: the slices of CTs that come with
pydicom 3.0, `CT_small.dcm`, `693_J2KI.dcm` (JPEG 2000 with loss, padding), `J2K_pixelrep_mismatch.dcm` (the header and
the compressed pixels disagree on the sign), and nine of the studies beside its `DICOMDIR` (whose localizers are left
out); and `ct_image.dcm` of highdicom's repository, whose package has no files.
"""


def document() -> str:
    """The text of the page."""
    return _BEGIN + "".join(f"| {kind.sentence} | {_ours(kind)} | {tried(kind).by_itk} |\n" for kind in KINDS) + _END


def _ours(kind: Kind) -> str:
    found = tried(kind).found
    lines = re.sub(r"ct_[0-9a-f]{12}(_\d)?: ", "", "; ".join(found.lines))
    return _told(found) + (f": `{lines}`" if lines else "")


def _told(found: Outcome) -> str:
    if not found.volumes:
        left_out = len(found.lines) == 1 and "left out" in found.lines[0]
        return "left out" if left_out else "refused"
    return "right" if len(found.volumes) == 1 else f"right, {len(found.volumes)} cases"
