"""The image, built and run as the challenge does, and with fewer rights than there.

Building takes minutes and gigabytes: it is done only where FLARE_TEST_IMAGE=1 asks for it, as `sh scripts/image --test`
does. Debian's packages are installed where there is no Docker only if FLARE_TEST_IMAGE_INSTALL=1 agrees to it.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import flare_infer
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.volume.volume import Volume, same_placement
from tests.script import load_script

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
CASE = "FLARE23Ts_0001"
CHALLENGE = ("/bin/bash", "-c", "sh predict.sh")
CHALLENGE_OPTIONS = ("--shm-size=28gb", "-m", "28G", "--name", "flare-team")
"""The challenge's command line but for --gpus, which needs a GPU."""

NOBODY = "4321:8765"
"""A user and a group that no system knows."""

DISTRUST = ("--read-only", "--network=none", "--cap-drop=all", "--security-opt=no-new-privileges")
TARGET_BYTES = 1.2e9
"""What the image for CPUs may take uncompressed."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image that was built, and what runs it; `engine` is an Engine of scripts/container_engine.py."""

    engine: Any
    name: str

    def run(self, command: Sequence[str] = (), options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        done: subprocess.CompletedProcess[str] = self.engine.run(self.name, command, options)
        return done

    def python(self, code: str) -> Any:
        """What a line of Python prints as JSON in the image."""
        done = self.run(["python3", "-c", code], ["--network=none"])
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A folder that holds one real CT, and the labels that the checkout's own command gives it."""

    folder: Path
    labels: Volume


@pytest.fixture(scope="module")
def scripts() -> Iterator[Any]:
    """The module scripts/image.py."""
    if os.environ.get("FLARE_TEST_IMAGE") != "1":
        pytest.skip("building the image takes minutes; sh scripts/image --test does it (FLARE_TEST_IMAGE=1)")
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield load_script("image", monkeypatch)


@pytest.fixture(scope="module")
def image(scripts: Any) -> Iterator[Image]:
    """The image with the PyTorch that runs this test, so that its labels must be the same."""
    storage = Path(tempfile.mkdtemp(prefix="flare-image-"))
    try:
        try:
            agreed = os.environ.get("FLARE_TEST_IMAGE_INSTALL") == "1"
            engine = scripts.engine_here(install=agreed, storage=storage)
        except scripts.ImageBuildError as error:
            pytest.skip(str(error))
        if engine.name == "podman" and os.geteuid() != 0:
            pytest.skip("without Docker the image is tried out as root only: otherwise users have other numbers inside")
        base = None if engine.name == "docker" else scripts.make_debian_base(engine)
        scripts.build_image(engine, "flare-under-test", base, extras=f"torch=={torch.__version__}")
        yield Image(engine=engine, name="flare-under-test")
        subprocess.run([*engine.control, "rmi", "--force", "flare-under-test"], capture_output=True, check=False)
    finally:
        # One driver mounts its folder onto itself.
        subprocess.run(["umount", str(storage / "root" / "overlay")], capture_output=True, check=False)
        shutil.rmtree(storage, ignore_errors=True)


@pytest.fixture(scope="module")
def full(scripts: Any, tmp_path_factory: pytest.TempPathFactory) -> Scan:
    """The demo's CT as it is."""
    del scripts
    folder = tmp_path_factory.mktemp("full")
    with pytest.MonkeyPatch.context() as monkeypatch:
        case = load_script("demo_ct", monkeypatch).fetch(folder / "download")
    if case is None:
        pytest.skip("the demo's CT cannot be downloaded: no network")
    return segmented(read_volume(case.ct), folder)


@pytest.fixture(scope="module")
def slab(full: Scan, tmp_path_factory: pytest.TempPathFactory) -> Scan:
    """Its lowest 40 slices, for all that need not take long."""
    scan = read_volume(full.folder / f"{CASE}_0000.nii.gz")
    return segmented(replace(scan, array_zyx=scan.array_zyx[:40]), tmp_path_factory.mktemp("slab"))


def segmented(scan: Volume, folder: Path) -> Scan:
    """A scan in a folder `inputs`, with its labels by the command of the checkout."""
    inputs = folder / "inputs"
    inputs.mkdir()
    write_volume(inputs / f"{CASE}_0000.nii.gz", scan)
    command = [sys.executable, "-m", "flare_infer", "predict", str(inputs), str(folder / "labels"), "--device", "cpu"]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    return Scan(folder=inputs, labels=read_volume(folder / "labels" / f"{CASE}.nii.gz"))


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """An empty folder, which others may not write to."""
    folder = tmp_path / "outputs"
    folder.mkdir(mode=0o755)
    return folder


def mounts(scan: Scan, outputs: Path, suffix: str = "") -> list[str]:
    """The two volumes of the challenge's command."""
    return ["-v", f"{scan.folder}/:/workspace/inputs/{suffix}", "-v", f"{outputs}/:/workspace/outputs/"]


def contents(folder: Path) -> dict[str, tuple[str, int, int]]:
    """What a folder holds: hash, time and rights of each file by name."""
    return {
        path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns, path.stat().st_mode)
        for path in folder.iterdir()
    }


def check(done: subprocess.CompletedProcess[str], scan: Scan, outputs: Path) -> None:
    """Exactly one label map was written, the one that the checkout writes, and something is in it; and the report."""
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in outputs.iterdir()) == [f"{CASE}.nii.gz", "report.csv", "report.json"]
    found = read_volume(outputs / f"{CASE}.nii.gz")
    assert same_placement(found.placement, scan.labels.placement)
    np.testing.assert_array_equal(found.array_zyx, scan.labels.array_zyx)
    assert len(np.unique(found.array_zyx)) > 5


def test_the_command_of_the_challenge(image: Image, full: Scan, outputs: Path) -> None:
    before = contents(full.folder)
    check(image.run(CHALLENGE, [*CHALLENGE_OPTIONS, *mounts(full, outputs)]), full, outputs)
    assert contents(full.folder) == before


def test_the_plain_form(image: Image, slab: Scan, outputs: Path) -> None:
    before = contents(slab.folder)
    check(image.run(options=mounts(slab, outputs)), slab, outputs)
    assert contents(slab.folder) == before


def test_any_user_who_may_write_the_outputs(image: Image, slab: Scan, outputs: Path) -> None:
    outputs.chmod(0o777)
    check(image.run(options=[f"--user={NOBODY}", *mounts(slab, outputs)]), slab, outputs)
    written = (outputs / f"{CASE}.nii.gz").stat()
    assert f"{written.st_uid}:{written.st_gid}" == NOBODY


def test_a_user_who_may_not_write_the_outputs_is_told_so(image: Image, slab: Scan, outputs: Path) -> None:
    done = image.run(CHALLENGE, [f"--user={NOBODY}", *mounts(slab, outputs)])
    assert done.returncode == 2
    assert done.stderr.startswith("error: /workspace/outputs: cannot be written to (Permission denied); ")
    assert len(done.stderr.splitlines()) == 1
    assert list(outputs.iterdir()) == []


def test_outputs_mounted_read_only_are_said_to_be(image: Image, slab: Scan, outputs: Path) -> None:
    volumes = mounts(slab, outputs)
    done = image.run(options=[*volumes[:-1], f"{volumes[-1]}:ro"])
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "/workspace/outputs: cannot be written to (Read-only file system)" in done.stderr


def distrust(image: Image) -> list[str]:
    """Read-only root, no network, no capability; podman gives a /tmp all the same, Docker none."""
    return [*DISTRUST, f"--user={NOBODY}", *(["--read-only-tmpfs=false"] if image.engine.name == "podman" else [])]


def test_read_only_without_network_as_nobody(image: Image, slab: Scan, outputs: Path) -> None:
    outputs.chmod(0o777)
    before = contents(slab.folder)
    check(image.run(CHALLENGE, [*distrust(image), *mounts(slab, outputs, ":ro")]), slab, outputs)
    assert contents(slab.folder) == before


def test_these_options_take_away_what_they_say(image: Image, slab: Scan, outputs: Path) -> None:
    script = """
        for place in / /tmp /workspace /workspace/inputs /opt/flare; do
            touch $place/x 2>/dev/null && echo wrote $place
        done
        grep -v -e '|' -e ' lo:' /proc/net/dev
        id -u; grep -E 'Cap(Eff|Bnd)|NoNewPrivs' /proc/self/status
    """
    done = image.run(["sh", "-c", script], [*distrust(image), *mounts(slab, outputs, ":ro")])
    none = "0" * 16
    assert done.stdout.split() == ["4321", "CapEff:", none, "CapBnd:", none, "NoNewPrivs:", "1"]


def test_a_start_compiles_nothing(image: Image, slab: Scan, outputs: Path) -> None:
    outputs.chmod(0o777)
    done = image.run(options=["-e", "PYTHONVERBOSE=1", *distrust(image), *mounts(slab, outputs)])
    assert done.returncode == 0
    loaded = re.findall(r"^# code object from '?([^'\n]+)'?$", done.stderr, re.MULTILINE)
    assert sum(name.endswith(".pyc") for name in loaded) > 500  # the pattern still fits what Python says
    assert [name for name in loaded if not name.endswith(".pyc")] == []


def test_what_a_start_reads_from_the_image(image: Image) -> None:
    config = image.engine.inspect(image.name)["Config"]
    assert not config.get("Entrypoint")
    assert not config.get("User")
    assert config["Cmd"] == ["sh", "predict.sh"]
    assert config["WorkingDir"] == "/workspace"
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items() if "opencontainers" in name}
    assert labels["version"] == flare_infer.__version__
    assert labels["licenses"].startswith("Apache-2.0")
    assert labels["source"]


def test_no_build_tool_and_no_pip_is_left(image: Image) -> None:
    tools = "cc gcc g++ c++ clang make cmake ld as pip"
    done = image.run(["bash", "-c", f"for tool in {tools}; do command -v $tool; done; python3 -m pip --version"])
    assert "No module named pip" in done.stderr
    # The slim Python image has a pip of its own; the environment that predict.sh runs in has none.
    assert set(done.stdout.split()) <= {"/usr/local/bin/pip"}


def test_nothing_of_this_machine_s_package_sources_is_left(image: Image, scripts: Any) -> None:
    del scripts
    sources = sys.modules["container_engine"].pip_sources()
    words = [word for value in sources.settings.values() for word in value.split()]
    described = json.dumps(image.engine.inspect(image.name))
    history = [*image.engine.control, "history", "--no-trunc", image.name]
    described += subprocess.run(history, capture_output=True, text=True, check=True).stdout
    assert [word for word in words if word in described] == []
    assert image.run(["sh", "-c", "cat /etc/pip.conf /root/.config/pip/pip.conf 2>/dev/null"]).stdout == ""


def test_every_package_is_one_that_is_pinned(image: Image) -> None:
    installed = packages(image)
    pinned = {}
    for name in ("requirements.txt", "constraints.txt"):
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            if "==" in line:
                package, version = line.split("==")
                pinned[package.lower()] = version
    cuda = ("nvidia-", "cuda-", "triton")
    surprising = {name: version for name, version in installed.items() if not name.startswith(cuda)}
    surprising = {
        name: version for name, version in surprising.items() if pinned.get(name) != version.partition("+")[0]
    }
    assert surprising == {}, "write them into constraints.txt"


def test_the_list_of_packages_is_what_is_installed(image: Image) -> None:
    listed = image.python("print(open('sbom.cdx.json').read())")
    assert listed["bomFormat"] == "CycloneDX"
    components = {canonical(part["name"]): part["version"] for part in listed["components"]}
    assert components == packages(image)


def test_the_image_for_cpus_is_small(image: Image, scripts: Any) -> None:
    sizes = scripts.sizes_of(image.engine, image.name)
    print(scripts.size_table(sizes))
    assert sizes["torch"] > 1e8  # what is large was counted
    assert sizes["weights"] > 1e6
    if torch.version.cuda is None:
        assert sum(sizes.values()) <= TARGET_BYTES


def packages(image: Image) -> dict[str, str]:
    """Versions of the installed packages by name."""
    found = image.python(
        "import json, importlib.metadata as m; print(json.dumps([(d.name, d.version) for d in m.distributions()]))"
    )
    return {canonical(name): version for name, version in found}


def canonical(name: str) -> str:
    """A package's name as indexes spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()
