"""DICOM through the reader and through the command."""

import builtins
import shutil
import subprocess
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from typer.testing import CliRunner

from flare_infer.commands.app import app
from flare_infer.dicom.elements import DEFLATED
from flare_infer.dicom.find import dicom_files, find_series
from flare_infer.dicom.headers import read_header
from flare_infer.dicom.pixels import read_planes
from flare_infer.errors import FlareError, ImageError
from flare_infer.formats.foreign import is_dicom
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.runs.case_files import find_cases
from flare_infer.volume.orient import turn
from flare_infer.volume.volume import Volume
from tests.dicom.document import DOCUMENT, document
from tests.dicom.kinds import KINDS, Kind
from tests.dicom.series import PATIENT, ROOT, Made, header, phantom, save, write
from tests.dicom.trial import tried


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("kind", KINDS, ids=[kind.sentence for kind in KINDS])
def test_each_kind_is_right_or_refused_by_name(kind: Kind) -> None:
    assert tried(kind).wrong == ()


def test_the_page_says_what_happens() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "python -m tests.dicom --write"


@pytest.mark.parametrize("axes", [(-1, 0, 0, 0, -1, 0), (0, 1, 0, -1, 0, 0), (-1, 0, 0, 0, 1, 0)])
def test_what_lies_left_in_the_patient_comes_out_left(axes: tuple[float, ...], tmp_path: Path) -> None:
    lying = Made(axes=tuple(map(float, axes)))
    index = (2, 15, 20)
    lying.array_zyx[index] = 2000
    z, y, x = index
    place = np.asarray(lying.position(z)) + y * 0.7 * np.asarray(axes[3:]) + x * 0.9 * np.asarray(axes[:3])
    write(tmp_path, lying)
    ((series,), _) = find_series(tmp_path, dicom_files(tmp_path, None))
    turned, _ = turn(_volume(series), "LPS")
    found = np.argwhere(turned.array_zyx == 2000)[0] * turned.placement.spacing_mm
    np.testing.assert_allclose(found[::-1] + turned.placement.origin_mm, place, atol=1e-3)


def _volume(series: Any) -> Volume:
    from flare_infer.dicom.volume import read_series

    return read_series(series)


def shipped_ct() -> list[Path]:
    """The CT slices that come with pydicom; a later version may ship others."""
    root = Path(pydicom.__file__).parent / "data" / "test_files"
    paths = [path for path in sorted(root.rglob("*")) if path.is_file() and is_dicom(path)]
    return [path for path in paths if read_header(path).slices]


def hounsfield_by_pydicom(path: Path) -> np.ndarray[Any, Any]:
    """The values of pydicom's own decoder (for JPEG 2000 that is Pillow's), padding as air."""
    ds = pydicom.dcmread(path)
    stored = ds.pixel_array
    values = stored * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
    padding = ds.get("PixelPaddingValue")
    return np.where(stored == padding, np.minimum(values, -1024), values)


def test_files_that_others_wrote() -> None:
    paths = shipped_ct()
    if not paths:
        pytest.skip("this version of pydicom ships no CT")
    assert {path.name for path in paths} >= {"CT_small.dcm"}
    for path in paths:
        (one,) = read_header(path).slices
        np.testing.assert_array_equal(next(read_planes([one])), hounsfield_by_pydicom(path), err_msg=path.name)


def test_the_page_lists_the_files_that_others_wrote() -> None:
    page = DOCUMENT.read_text(encoding="utf-8")
    if pydicom.__version__.startswith("3.0."):
        assert [path.name for path in shipped_ct() if f"`{path.name}`" not in page and not path.name.isdigit()] == []


@pytest.mark.parametrize(
    ("program", "option", "lossless"),
    [("dcmcjpeg", "+ee", False), ("dcmcjpeg", "+el", True), ("dcmcjpeg", "+e1", True), ("dcmcjpls", "+en", False)],
    ids=["JPEG, 12 bits, with loss", "JPEG, process 14", "JPEG, selection value 1", "JPEG-LS, with loss"],
)
def test_what_dcmtk_compressed(program: str, option: str, lossless: bool, tmp_path: Path) -> None:
    if shutil.which(program) is None:
        pytest.skip("DCMTK is not installed (Debian: dcmtk)")
    save(header(Made(array_zyx=phantom((1, 64, 48))), 0), tmp_path / "plain.dcm")
    packed, unpacked = tmp_path / "packed.dcm", tmp_path / "unpacked.dcm"
    subprocess.run([program, option, tmp_path / "plain.dcm", packed], check=True)
    subprocess.run([program.replace("dcmc", "dcmd"), packed, unpacked], check=True)
    (one,) = read_header(packed).slices
    truth = hounsfield_by_pydicom(unpacked)
    np.testing.assert_allclose(next(read_planes([one])), truth, rtol=0, atol=0 if lossless else 1e-3)
    if lossless:
        np.testing.assert_array_equal(truth, phantom((1, 64, 48))[0])


def test_jpeg_ls_that_others_wrote(tmp_path: Path) -> None:
    packed, plain = (pydicom.dcmread(str(get_testdata_file(f"MR_small{end}.dcm"))) for end in ("_jpeg_ls_lossless", ""))
    packed.Modality, packed.SOPClassUID = "CT", pydicom.uid.CTImageStorage
    save(packed, tmp_path / "a.dcm")
    (one,) = read_header(tmp_path / "a.dcm").slices
    np.testing.assert_array_equal(next(read_planes([one])), plain.pixel_array)


def test_no_damage_of_a_header_is_unexpected(tmp_path: Path) -> None:
    save(header(Made(), 0), tmp_path / "whole.dcm")
    whole = (tmp_path / "whole.dcm").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole)
        for at in rng.integers(132, len(whole) - 900, 3):
            damaged[at] = rng.integers(256)
        path = tmp_path / "damaged.dcm"
        path.write_bytes(damaged[: rng.integers(140, len(whole)) if rng.random() < 0.3 else None])
        find_series(tmp_path, [path])
        with suppress(ImageError):
            for one in read_header(path).slices:
                list(read_planes([one]))


def test_a_header_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    """Many private elements stand before the pixels; so they do in a deflated file."""
    for name, syntax in (("plain", pydicom.uid.ExplicitVRLittleEndian), ("deflated", DEFLATED)):
        ds = header(Made(), 0)
        ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        ds.add_new(0x00290010, "LO", "OURS")
        for number in range(40):
            noise = np.random.default_rng(number).bytes(8000)
            ds.add_new(0x00291001 + number, "UN", noise)
        save(ds, tmp_path / f"{name}.dcm")
        (one,) = read_header(tmp_path / f"{name}.dcm").slices
        np.testing.assert_array_equal(next(read_planes([one])), phantom()[0])


def test_no_file_keeps_the_reader_busy(tmp_path: Path) -> None:
    """Zeros are elements without a value, eight bytes each; a deflated file may grow a thousandfold."""
    zeros = tmp_path / "zeros.dcm"
    zeros.write_bytes(bytes(128) + b"DICM" + bytes(2**21))
    with pytest.raises(ImageError, match="it is damaged or cut short"):
        read_header(zeros)
    ds = header(Made(), 0)
    ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(DEFLATED)
    ds.add_new(0x00290010, "UN", bytes(2**26))
    save(ds, tmp_path / "bomb.dcm")
    tracemalloc.start()
    (one,) = read_header(tmp_path / "bomb.dcm").slices
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**26
    with pytest.raises(ImageError, match="has no pixel data"):
        next(read_planes([one]))


def test_a_deflated_file_that_is_cut_short(tmp_path: Path) -> None:
    ds = header(Made(), 0)
    ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(DEFLATED)
    path = tmp_path / "a.dcm"
    save(ds, path)
    (one,) = read_header(path).slices
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ImageError, match="a slice cannot be read"):
        next(read_planes([one]))


def test_a_series_inside_a_folder_of_nifti_cases_and_of_other_files(mixed: Path) -> None:
    for number in range(300):
        path = mixed / "notes" / str(number % 7) / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("no DICOM")
    found = find_cases(mixed)
    assert sorted(name[:3] for name in found.cases) == ["ct_", "nif"]
    assert all("notes" not in note for note in found.notes)


@pytest.mark.parametrize("file", ["IM0001", "series/1/IM0001"])
def test_what_is_dicom_in_its_first_bytes_alone_is_left_out_without_its_name(file: str, tmp_path: Path) -> None:
    path = tmp_path / "in" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(128) + b"DICM" + bytes(90))
    code, _, stderr = run("predict", tmp_path / "in", tmp_path / "out")
    assert (code, stderr.count("\n")) == (2, 1)
    assert "in: left out 1 DICOM file(s) that hold no slice of a CT: 1 other object; and there is no other" in stderr


@pytest.fixture
def mixed(tmp_path: Path, scan: Volume) -> Path:
    """A NIfTI case, two series of which one lacks a slice, and a localizer."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    write_volume(folder / "nifti_0000.nii.gz", scan)
    write(folder / PATIENT[0], Made(array_zyx=phantom((12, 40, 44))))
    write(folder / PATIENT[2], Made(uid=ROOT + "8"), leave=[5])
    localizer = header(Made(uid=ROOT + "7"), 0)
    localizer.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    save(localizer, folder / f"{PATIENT[1]}.dcm")
    return folder


def test_a_folder_of_both_and_nothing_of_the_patient_in_what_is_written(
    mixed: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    code, stdout, stderr = run("predict", mixed, outputs, "--weights", tiny_weights, "--device", "cpu")
    assert code == 1
    assert "1 slice(s) missing" in stderr
    assert "left out 1 DICOM file(s) that hold no slice of a CT: 1 localizer" in stderr
    assert "1 of 3 cases failed" in stderr
    labels = sorted(outputs.glob("*.nii.gz"))
    assert [path.name[:3] for path in labels] == ["ct_", "nif"]
    assert read_volume(labels[0]).shape == (12, 40, 44)
    assert read_volume(labels[0]).placement.spacing_mm == pytest.approx((2.5, 0.7, 0.9))

    code, listed, note = run("series", mixed)
    assert (code, note) == (0, "")
    written = [path.read_bytes() for path in outputs.iterdir()] + [path.name.encode() for path in outputs.iterdir()]
    everything = b"\n".join([*written, *(text.encode() for text in (stdout, stderr, listed))]).lower()
    for secret in (*PATIENT, "doe", "20210203"):
        assert secret.lower().encode() not in everything

    assert "done before" in run("predict", mixed, outputs, "--weights", tiny_weights, "--device", "cpu")[1]
    code, _, stderr = run(
        *(
            "predict",
            mixed,
            outputs,
            "--weights",
            tiny_weights,
            "--device",
            "cpu",
            "--fill-gaps",
            "--series",
            ROOT + "8",
        )
    )
    assert code == 0
    assert "a missing slice was interpolated" in stderr
    assert len(list(outputs.glob("*.nii.gz"))) == 3


def test_the_list_says_what_is_usable_and_why_not(mixed: Path) -> None:
    lines = run("series", mixed)[1].splitlines()
    heads = ["case", "modality", "description", "slices", "spacing", "(mm)", "phase", "usable", "SeriesInstanceUID"]
    assert lines[0].split() == heads
    assert len(lines) == 5
    assert sorted(line.split()[-1] for line in lines[1:4]) == sorted(ROOT + end for end in ("1", "7", "8"))
    usable, lacking, localizer = "  yes", "  no: 1 slice(s) missing", "  no: localizer"
    assert all(sum(words in line for line in lines[1:4]) == 1 for words in (usable, lacking, localizer))
    assert all("CT        Abdomen 2.5" in line for line in lines[1:4])
    listed = run("series", mixed, "--folders")[1].splitlines()
    assert listed[0].endswith("folder")
    assert {line.split()[-1] for line in listed[1:4]} == {PATIENT[0], PATIENT[2], ROOT + "7"}  # a localizer has none


def test_one_series_may_be_chosen(mixed: Path) -> None:
    from flare_infer.dicom.find import Choice

    every = find_cases(mixed)
    assert [failure.name for failure in every.failures] != []
    (name,) = [name for name in every.cases if name.startswith("ct_")]
    assert set(find_cases(mixed, choice=Choice(series=name)).cases) == {name, "nifti"}
    largest = find_cases(mixed, choice=Choice(series="largest"))
    assert (set(largest.cases), largest.failures) == ({name, "nifti"}, [])
    with pytest.raises(FlareError, match="no CT series of that UID or name"):
        find_cases(mixed, choice=Choice(series="1.2.3"))


def test_a_single_series_may_go_to_a_named_file(tiny_weights: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "in", Made())
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in folder.iterdir():
            packed.write(path, path.name)
    for inputs, name in ((min(folder.iterdir()), "one.nii.gz"), (archive, "zipped.mha")):
        assert run("predict", inputs, tmp_path / "out" / name, "--weights", tiny_weights)[0] == 0
        assert read_volume(tmp_path / "out" / name).shape == phantom().shape


def test_without_pydicom_the_other_cases_go_on(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = builtins.__import__

    def fail(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("pydicom"):
            raise ImportError(name)
        return find(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", fail)
    found = find_cases(mixed)
    assert set(found.cases) == {"nifti"}
    (note,) = found.notes
    assert 'DICOM is read with pydicom: pip install "flare-infer[dicom]"' in note
    alone = tmp_path / "alone"
    alone.mkdir()
    (mixed / "nifti_0000.nii.gz").rename(alone / "nifti_0000.nii.gz")
    assert (set(find_cases(alone).cases), find_cases(alone).notes) == ({"nifti"}, ())
    code, _, stderr = run("series", mixed)
    assert (code, 'pip install "flare-infer[dicom]"' in stderr) == (2, True)
