"""`import flare_infer`: what it takes and gives, and that it segments as the command does."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813 - the field's own alias
import torch
from typer.testing import CliRunner

import flare_infer as flare
from flare_infer.api.model import Model
from flare_infer.commands.app import app
from flare_infer.errors import FlareError, ImageError, UsageError
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.model.network import UNet
from flare_infer.model.weights import save_model
from flare_infer.results.case import CaseStatistics
from flare_infer.version import __version__
from flare_infer.volume.volume import Placement, Volume
from tests.tiny import tiny_spec

ROOT = Path(__file__).resolve().parents[3]

PLACEMENT = Placement(
    spacing_mm=(5.0, 2.5, 2.0),
    origin_mm=(-30.5, 12.25, -700.0),
    axes=((0.0, 0.6, 0.8), (-1.0, 0.0, 0.0), (0.0, -0.8, 0.6)),
)
"""No two axes are alike, and none is a patient's: whatever is exchanged shows."""


@pytest.fixture
def turned() -> Volume:
    noise = np.random.default_rng(1).normal(40, 60, (9, 31, 27)).astype(np.int16)
    return Volume(array_zyx=noise, placement=PLACEMENT)


@pytest.fixture
def ct(tmp_path: Path, turned: Volume) -> Path:
    path = tmp_path / "in" / "ct_0000.nii.gz"
    path.parent.mkdir()
    write_volume(path, turned)
    return path


@pytest.fixture
def model(tiny_weights: Path) -> Model:
    return flare.load(tiny_weights, device="cpu")


def as_array(path: Path) -> flare.ArrayScan:
    image = sitk.ReadImage(str(path))
    return sitk.GetArrayFromImage(image), image.GetSpacing(), image.GetOrigin(), image.GetDirection()


def predicted(ct: Path, outputs: Path, weights: Path) -> tuple[Path, str]:
    """The label map that the command writes, and what it says of the case."""
    done = CliRunner().invoke(app, ["predict", str(ct), str(outputs), "--weights", str(weights), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    return outputs / "ct.nii.gz", done.stderr


def test_labels_and_notices_are_those_of_the_command(
    ct: Path, turned: Volume, tiny_weights: Path, tmp_path: Path
) -> None:
    written, said = predicted(ct, tmp_path / "out", tiny_weights)
    result = flare.segment(ct, weights=tiny_weights, device="cpu")
    result.save(tmp_path / "mine.nii.gz")
    assert (tmp_path / "mine.nii.gz").read_bytes() == written.read_bytes()
    assert len(np.unique(result.array)) > 2
    assert result.name == "ct"
    assert [f"ct: {line}" for line in result.notices] == said.splitlines() == []
    write_volume(ct, replace(turned, array_zyx=turned.array_zyx.astype(np.int16) + 1000))
    _, said = predicted(ct, tmp_path / "unsure", tiny_weights)
    result = flare.segment(ct, weights=tiny_weights, device="cpu")
    assert [f"ct: {line}" for line in result.notices] == said.splitlines()
    assert result.notices


def test_file_image_and_array_give_the_same_labels_in_the_same_place(ct: Path, model: Model) -> None:
    scan = sitk.ReadImage(str(ct))
    results = [model.segment(given) for given in (ct, str(ct), ct.parent, scan, as_array(ct))]
    assert [result.name for result in results] == ["ct", "ct", "ct", "scan", "scan"]
    for result in results:
        np.testing.assert_array_equal(result.array, results[0].array)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(result.labels), result.array)
        assert result.labels.GetSpacing() == pytest.approx((2.0, 2.5, 5.0))
        assert result.labels.GetOrigin() == pytest.approx(scan.GetOrigin())
        assert result.labels.GetDirection() == pytest.approx(scan.GetDirection(), abs=1e-6)
        assert result.array.shape == (9, 31, 27)
        assert result.array.dtype == np.uint8


def test_an_array_is_in_the_order_of_simpleitk(turned: Volume, model: Model) -> None:
    """Spacing, origin and direction of an array with three different lengths, written out by hand."""
    direction = [[0.0, -1.0, 0.0], [-0.8, 0.0, 0.6], [0.6, 0.0, 0.8]]  # columns: the unit vectors along x, y, z
    result = model.segment((turned.array_zyx, (2.0, 2.5, 5.0), (-30.5, 12.25, -700.0), direction))
    assert result.case.scan.placement == PLACEMENT
    last = (26, 30, 8)  # (x, y, z)
    index = np.array(last) * (2.0, 2.5, 5.0)
    assert result.labels.TransformIndexToPhysicalPoint(last) == pytest.approx(
        np.array((-30.5, 12.25, -700.0)) + np.array(direction) @ index
    )


def test_a_label_map_displaces_no_scan(ct: Path, model: Model) -> None:
    result, before = model.segment(ct), ct.read_bytes()
    with pytest.raises(UsageError, match="holds a scan"):
        result.save(ct)
    assert ct.read_bytes() == before
    result.save(ct.with_name("labels.nii.gz"))
    result.save(ct.with_name("labels.nii.gz"))


@pytest.mark.parametrize("form", ["big endian", "fortran", "reversed", "float64", "float16", "int64", "read only"])
def test_any_form_of_an_array_is_taken_and_left_as_it_is(form: str, turned: Volume, model: Model) -> None:
    plain = turned.array_zyx
    changed = {
        "big endian": plain.astype(">i2"),
        "fortran": np.asfortranarray(plain),
        "reversed": plain[::-1].copy()[::-1],
        "read only": plain.copy(),
    }
    array = changed[form] if form in changed else plain.astype(form)
    array.flags.writeable = form != "read only"
    before = array.copy()
    place = ((2.0, 2.5, 5.0), (0.0, 0.0, 0.0), np.eye(3))
    result = model.segment((array, *place))
    np.testing.assert_array_equal(array, before)
    np.testing.assert_array_equal(result.array, model.segment((plain, *place)).array)


def changed(**changes: Any) -> tuple[Any, ...]:
    array = np.random.default_rng(0).normal(40, 60, (9, 31, 27))
    fields = {"array": array, "spacing": (2.0, 2.5, 5.0), "origin": (0.0, 0.0, 0.0), "direction": np.eye(3)} | changes
    return tuple(fields.values())


def with_one(value: float) -> npt.NDArray[Any]:
    array = np.random.default_rng(0).normal(40, 60, (9, 31, 27))
    array[4, 5, 6] = value
    return array


@pytest.mark.parametrize(
    ("scan", "words"),
    [
        (changed(array=np.zeros((4, 5))), r"three dimensions \(z, y, x\) with voxels, found shape \(4, 5\)"),
        (changed(array=np.zeros((0, 5, 5))), "found shape"),
        (changed(array=np.zeros((4, 5, 6), np.complex64)), "found complex64"),
        (changed(array=np.full((4, 5, 6), "a")), "found <U1"),
        (changed(array=np.zeros((4, 5, 6), np.bool_)), "found bool"),
        (changed(array=with_one(np.nan)), "found NaN or infinity"),
        (changed(array=with_one(np.inf)), "found NaN or infinity"),
        (changed(array=np.arange(2 * 15 * 4).reshape(2, 15, 4) % 15), "array: is a label map, no CT"),
        (changed(spacing=(2.0, 2.5)), "3 finite numbers as spacing"),
        (changed(spacing=(2.0, 0.0, 5.0)), r"above 0 mm along \(x, y, z\), found \(2, 0, 5\)"),
        (changed(spacing=(2.0, np.nan, 5.0)), "3 finite numbers as spacing"),
        (changed(spacing=(2000.0, 2.5, 5.0)), "expected a spacing between"),
        (changed(spacing="2 mm"), "expected 3 numbers as spacing, found '2 mm'"),
        (changed(origin=(0.0, np.inf, 0.0)), "3 finite numbers as origin"),
        (changed(direction=2 * np.eye(3)), "expected unit vectors as the columns"),
        (changed(direction=[1.0, 0.0, 0.0]), "9 finite numbers as direction"),
        (changed(direction=[[1, 0.1, 0], [0, np.sqrt(0.99), 0], [0, 0, 1]]), "miss right angles"),
        (changed()[:3], "found a tuple of 3"),
        (7, "found int"),
        (Path("nowhere.nii.gz"), "nowhere.nii.gz: not found"),
    ],
)
def test_what_is_no_scan_is_refused_in_one_line(scan: Any, words: str, model: Model) -> None:
    with pytest.raises(FlareError, match=words) as refused:
        model.segment(scan)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (sitk.Image(4, 5, sitk.sitkInt16), "image: expected a three-dimensional image, found 2 dimensions"),
        (sitk.Image([4, 5, 6], sitk.sitkVectorInt16, 3), "one number a voxel, found 3 components"),
        (sitk.Image([4, 5, 6], sitk.sitkComplexFloat32), "found complex ones"),
        (sitk.Image([4, 5, 6], sitk.sitkUInt8) + 1, "image: is a label map, no CT"),
    ],
)
def test_images_that_are_no_scan_are_refused(image: sitk.Image, words: str, model: Model) -> None:
    with pytest.raises(ImageError, match=words):
        model.segment(image)


def test_files_are_refused_as_the_command_refuses_them(ct: Path, turned: Volume, model: Model) -> None:
    (ct.parent / "bad.nii.gz").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"bad\.nii\.gz"):
        model.segment(ct.parent / "bad.nii.gz")
    with pytest.raises(UsageError, match="expected one scan, found 2: bad, ct; name a file"):
        model.segment(ct.parent)
    codes = Volume(array_zyx=np.ones((9, 9, 9), np.uint8), placement=PLACEMENT)
    write_volume(ct.parent / "codes.nii.gz", codes)
    with pytest.raises(ImageError, match=r"codes\.nii\.gz: is a label map"):
        model.segment(ct.parent / "codes.nii.gz")


def test_dicom_is_a_scan_by_folder_file_archive_and_series(tmp_path: Path, model: Model) -> None:
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    import shutil

    from tests.dicom.series import ROOT as UID
    from tests.dicom.series import Made, write

    made = Made()
    folder = write(tmp_path / "one" / "a", made)
    image = sitk.GetImageFromArray(made.array_zyx)
    image.SetSpacing(made.spacing[::-1])
    image.SetOrigin(made.origin)
    expected = model.segment(image).array
    archive = Path(shutil.make_archive(str(tmp_path / "study"), "zip", folder))
    for given in (folder, next(folder.iterdir()), archive):
        result = model.segment(given)
        np.testing.assert_array_equal(result.array, expected)
        assert result.case.source is not None
        assert "Doe" not in result.name
        assert result.volumes_ml.keys() == set(result.names.values())
    write(tmp_path / "one" / "b", replace(made, uid=UID + "2"))
    with pytest.raises(UsageError, match="expected one scan, found 2: ct_"):
        model.segment(tmp_path / "one")
    chosen = model.segment(tmp_path / "one", series=UID + "2")
    assert chosen.case.source is not None
    assert chosen.case.source.uid == UID + "2"


def test_volumes_names_and_confidence(tmp_path: Path, turned: Volume) -> None:
    spec = tiny_spec(untrained=(9, 14))
    torch.manual_seed(0)
    save_model(tmp_path / "some", spec, UNet(spec.network, spec.classes))
    model = flare.load(tmp_path / "some", device="cpu")
    result = model.segment((turned.array_zyx, (2.0, 2.5, 5.0), (0, 0, 0), np.eye(3)))
    assert model.names == result.names
    assert "liver" in result.volumes_ml
    # Never learned is not the same as not there.
    assert not {"gallbladder", "tumor"} & result.volumes_ml.keys()
    for code, name in result.names.items():
        assert result.volumes_ml[name] == pytest.approx(np.count_nonzero(result.array == code) * 0.025)
    assert {result.names[code] for code in result.case.confidence} == set(result.confidence)
    assert result.made_with["versions"]["flare_infer"] == __version__
    assert not {"host", "process"} & result.made_with.keys()


def test_a_result_is_shown_in_a_line_and_is_read_only(ct: Path, model: Model) -> None:
    result = model.segment(ct)
    assert repr(model) == "<Model tiny on cpu>"
    assert repr(result).startswith("<Result ct, shape (9, 31, 27), found ")
    with pytest.raises(ValueError, match="read-only"):
        result.array[0, 0, 0] = 1


def test_statistics_are_measured_once_when_asked_for(ct: Path, model: Model) -> None:
    result = model.segment(ct)
    assert isinstance(result.statistics, CaseStatistics)
    assert result.statistics is result.statistics
    measured = {found.name: found.volume_ml for found in result.statistics.classes}
    assert result.volumes_ml == {name: pytest.approx(measured[name], abs=1e-3) for name in result.volumes_ml}


def test_the_ending_chooses_the_format_and_nothing_is_left_of_a_failure(
    ct: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = model.segment(ct)
    folder = tmp_path / "saved"
    folder.mkdir()
    for name in ("a.nii.gz", "a.nii", "a.mha", "a.nrrd"):
        result.save(folder / name)
        np.testing.assert_array_equal(read_volume(folder / name).array_zyx, result.array)
    with pytest.raises(UsageError, match=r"a\.png: expected a name that ends in \.nii\.gz, \.nii, \.mha, \.nrrd"):
        result.save(folder / "a.png")
    with pytest.raises(FlareError, match="cannot write here"):
        result.save(folder / "missing" / "a.nii.gz")

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flare_infer.formats.nifti.write_compressed", full)
    with pytest.raises(FlareError, match="is the disk full"):
        result.save(folder / "b.nii.gz")
    assert sorted(path.name for path in folder.iterdir()) == ["a.mha", "a.nii", "a.nii.gz", "a.nrrd"]


def test_nothing_is_printed_and_progress_is_told_who_asks(
    ct: Path, model: Model, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[int, int]] = []
    model.segment(ct, progress=lambda done, total: told.append((done, total)))
    model.segment(ct)
    assert tuple(capfd.readouterr()) == ("", "")
    assert told[-1][0] == told[-1][1] > 0
    model.segment(ct, progress=True)  # no terminal here: no bar
    assert capfd.readouterr().out == ""


def test_memory_that_runs_out_is_an_error_of_ours(ct: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*arguments: Any, **options: Any) -> None:
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr(type(model.segmenter), "prepare", out_of_memory)
    with pytest.raises(ImageError, match=r"ct: memory ran out \(Unable to allocate 9 TiB\)"):
        model.segment(ct)

    def wrong(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("a fault of the program")

    monkeypatch.setattr(type(model.segmenter), "prepare", wrong)
    with pytest.raises(RuntimeError, match="a fault of the program"):
        model.segment(ct)


def test_wrong_weights_and_devices_are_errors_of_ours(tiny_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        flare.load(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="device 'toaster' is unknown"):
        flare.load(tiny_weights, device="toaster")


def python(*lines: str) -> Sequence[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", "\n".join(lines)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_import_alone_imports_nothing_large() -> None:
    large = python(
        "import sys",
        "import flare_infer",
        "from flare_infer import labels, __version__",
        "flare_infer.__all__, dir(flare_infer), labels.LIVER",
        "print(sorted({'torch', 'numpy', 'SimpleITK', 'scipy', 'rich', 'typer'} & set(sys.modules)))",
    )
    assert large == ["[]"]


def test_the_function_segment_is_not_hidden_by_the_folder_of_that_name() -> None:
    said = python(
        "import flare_infer as flare",
        "from flare_infer.segment.segmenter import Segmenter",
        "import flare_infer.segment.sliding",
        "from flare_infer import load, segment, Model, Result",
        "print(flare.segment is segment, segment.__module__, flare.segment.__module__, Segmenter.__name__)",
    )
    assert said == ["True flare_infer.api.model flare_infer.api.model Segmenter"]


def test_names_are_those_that_are_offered() -> None:
    assert set(flare.__all__) <= set(dir(flare))
    assert all(getattr(flare, name) is not None for name in flare.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        flare.nothing  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("bound", ["100", -5, 0])
def test_a_bound_that_is_none_is_refused_when_the_model_is_loaded(tiny_weights: Path, bound: Any) -> None:
    for name in ("gpu_budget_mib", "ram_budget_mib"):
        with pytest.raises(UsageError, match=f"^{name}: expected a number of MiB above 0"):
            flare.load(tiny_weights, **{name: bound})
