"""What `pip install .` gives."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A copy, because a build writes into the tree it is made from.
    tracked = subprocess.run(["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked.splitlines():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((CHECKOUT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(out),
        ".",
    ]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_the_lite_weights(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = [path.relative_to(CHECKOUT) for name in PACKAGES for path in (CHECKOUT / name).rglob("*.py")]
    assert {module.as_posix() for module in modules} <= names
    for file in ("LICENSE", "lite/model.json", "lite/model.safetensors", "lite/MODEL_CARD.md", "lite/LOG.md"):
        assert f"flare_infer/shipped_weights/{file}" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


@pytest.mark.slow
def test_an_installed_wheel_finds_its_weights(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    script = "from flare_infer.model.weights import find_weights; print(find_weights())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); {script}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == str(tmp_path / "site" / "flare_infer" / "shipped_weights" / "lite"), done.stderr


PACKAGES = ("flare_infer", "flare_eval", "flare_serve", "train")


@pytest.mark.parametrize("module", ["flare_infer.commands.app", "flare_eval.commands.app", "train.commands.app"])
def test_help_does_not_import_torch(module: str) -> None:
    script = f"import sys; sys.argv = ['command', '--help']\ntry:\n import {module} as c; c.main()\n"
    script += (
        "except SystemExit: pass\nheavy = {'torch', 'numpy', 'SimpleITK', 'scipy', 'pydicom'} & set(sys.modules)\n"
    )
    script += "sys.exit(f'imported {heavy}' if heavy else 0)"
    done = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--help" in done.stdout


def test_the_three_commands_are_installed() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert set(project["scripts"]) == {"flare-infer", "flare-eval", "flare-train"}


def test_the_pins_of_the_service_lie_within_its_extra() -> None:
    extra = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["serve"]
    text = (CHECKOUT / "requirements-serve.txt").read_text()
    pins = dict(line.lower().replace("_", "-").split("==") for line in text.splitlines() if "==" in line)
    assert extra[0] == "flare-infer[dicom]"  # its pins are those of the image
    for entry in extra[1:]:
        name, least = entry.split(">=")
        assert [int(part) for part in pins[name].split(".")] >= [int(part) for part in least.split(".")]


def test_pins_lie_within_what_the_package_asks_for() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    # The image reads and writes DICOM, too, and draws pictures for pages.
    asked = [*project["dependencies"], *extras["dicom"], *(one for one in extras["picture"] if "pillow" in one)]
    pins = dict(line.split("==") for line in (CHECKOUT / "requirements.txt").read_text().splitlines() if "==" in line)
    assert {entry.split(">=")[0] for entry in asked} == set(pins)
    for entry in asked:
        name, least = entry.split(">=")
        assert [int(part) for part in pins[name].split(".")] >= [int(part) for part in least.split(".")]
