"""The lines of docs/python.md are run, on a small invented scan and, where it is there, on a real one."""

import re
import shutil
from pathlib import Path

import pytest

from flare_infer.formats.volume_io import write_volume
from flare_infer.volume.volume import Volume
from tests.real_data import real_data

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "python.md"

BLOCKS = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What is left when all lines are run in a folder that holds `ct.nii.gz`, `cts` and `dicom`."""
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    for number, block in enumerate(BLOCKS, 1):
        exec(compile(block, f"{DOCUMENT.name}, block {number}", "exec"), names)
    return names


def folder_with(scan: Volume, folder: Path) -> Path:
    from tests.dicom.series import Made, write  # needs pydicom

    (folder / "cts").mkdir()
    write_volume(folder / "ct.nii.gz", scan)
    for name in ("a", "b"):
        write_volume(folder / "cts" / f"{name}.nii.gz", scan)
    write(folder / "dicom", Made())
    return folder


def test_there_are_lines_to_run() -> None:
    assert len(BLOCKS) >= 5
    assert "flare.segment(" in BLOCKS[0]


def test_the_lines_run_on_an_invented_scan(
    scan: Volume, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    monkeypatch.setenv("FLARE_WEIGHTS", str(tiny_weights))
    folder = tmp_path / "work"
    folder.mkdir()
    run_all(folder_with(scan, folder), monkeypatch)
    assert {path.name for path in folder.iterdir()} >= {"labels.nii.gz", "report.html"}
    assert sorted(path.name for path in (folder / "labels").iterdir()) == ["a.nii.gz", "b.nii.gz"]


@pytest.mark.slow
def test_the_lines_run_on_a_real_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    from flare_infer.formats.volume_io import read_volume

    folder = tmp_path / "work"
    folder.mkdir()
    folder_with(read_volume(real_data() / "ct" / "torso3mm_slab_0000.nii.gz"), folder)
    shutil.copyfile(real_data() / "ct" / "torso3mm_0000.nii.gz", folder / "ct.nii.gz")
    names = run_all(folder, monkeypatch)
    assert names["liver_ml"] > 500  # type: ignore[operator]
