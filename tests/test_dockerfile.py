"""The image's recipe and the scripts around it, as far as they need no engine; tests/test_image.py runs them."""

import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

import flare_infer
from tests.script import load_script

ROOT = Path(__file__).resolve().parents[1]


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile: word and rest, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def last_stage() -> list[tuple[str, str]]:
    """The instructions that make what people run."""
    steps = instructions()
    return steps[max(number for number, (word, _) in enumerate(steps) if word == "FROM") :]


def test_the_image_starts_predict_sh_in_its_working_folder() -> None:
    words = [word for word, _ in instructions()]
    assert "ENTRYPOINT" not in words  # it would swallow the challenge's command
    assert "USER" not in words  # the challenge may start it as anyone
    assert dict(last_stage())["WORKDIR"] == "/workspace"
    assert dict(last_stage())["CMD"] == '["sh", "predict.sh"]'


def test_the_image_installs_before_it_takes_the_code() -> None:
    steps = [f"{word} {rest}" for word, rest in instructions()]
    requirements = steps.index("COPY requirements.txt constraints.txt ./")
    install = next(number for number, step in enumerate(steps) if "-r requirements.txt" in step)
    environment = next(number for number, step in enumerate(steps) if step.startswith("COPY --from=environment"))
    code = next(number for number, step in enumerate(steps) if step.startswith("COPY") and "flare_infer" in step)
    assert requirements < install < environment < code


def test_the_service_is_in_the_image_on_demand_and_needs_a_token() -> None:
    steps = [f"{word} {rest}" for word, rest in instructions()]
    assert 'ARG SERVE=""' in steps
    assert any("-r requirements.txt ${SERVE:+-r $SERVE}" in step for step in steps)
    assert "COPY serve.sh /usr/local/bin/serve" in steps
    script = ROOT / "serve.sh"
    assert script.stat().st_mode & 0o111
    for token, expected in (("", "--new-token --port 9"), ("/run/token", "--port 9")):
        shown = script.read_text(encoding="utf-8").replace("cd /workspace", "cd /").replace("exec python3", "echo")
        done = subprocess.run(
            ["sh", "-c", shown, "serve", "--port", "9"],
            env={"FLARE_TOKEN_FILE": token, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == f"-m flare_serve serve --address 0.0.0.0 {expected}".split()


def test_both_stages_stand_on_a_slim_python_pinned_to_its_patch() -> None:
    assert [rest for word, rest in instructions() if word == "FROM"] == [
        "${BASE_IMAGE} AS environment",
        "${BASE_IMAGE}",
    ]
    base = next(rest for word, rest in instructions() if word == "ARG")
    assert re.fullmatch(r"BASE_IMAGE=python:3\.\d+\.\d+-slim-\w+", base)


def test_every_requirement_is_pinned() -> None:
    for name in ("requirements.txt", "requirements-serve.txt", "constraints.txt"):
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            assert line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.+]+", line), f"{name}: {line}"


def test_the_image_says_this_version() -> None:
    assert ("ARG", f"VERSION={flare_infer.__version__}") in last_stage()


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert source.rstrip("/") in kept
                assert (ROOT / source).exists()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_script("container_engine", monkeypatch)


def pip_lists(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    done = subprocess.CompletedProcess([], 0, stdout=text, stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: done)


def test_where_pip_finds_packages_is_handed_to_the_build(
    engine: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pip_lists(
        monkeypatch,
        f":env:.find-links='{tmp_path} {tmp_path}/gone'\n"
        "global.find-links='/overruled'\n"
        "global.timeout='9'\n"
        "global.extra-index-url='file:///mirror/simple\\nmirror.example/simple'\n",
    )
    sources = engine.pip_sources()
    assert sources.settings == {"find-links": f"{tmp_path} {tmp_path}/gone", "extra-index-url": "mirror.example/simple"}
    assert sources.paths == [tmp_path]
    index = "extra-index-url = mirror.example/simple"
    wheels = f"find-links = {tmp_path} {tmp_path}/gone"
    assert sources.text(with_paths=True).splitlines() == ["[global]", wheels, index]
    assert sources.text(with_paths=False).splitlines() == ["[global]", index]


def test_without_any_setting_nothing_is_handed_over(engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_lists(monkeypatch, "")
    assert (engine.pip_sources().settings, engine.pip_sources().paths) == ({}, [])


def test_a_password_in_the_address_of_the_checkout_stays_out_of_the_label(
    engine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    del engine
    image = load_script("image", monkeypatch)
    pip_lists(monkeypatch, "https://name:secret@example.org/flare.git\n")
    assert image.source()["SOURCE"] == "https://example.org/flare.git"


def test_the_table_of_sizes_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    image = load_script("image", monkeypatch)
    table = image.size_table({"small": 1_000_000, "weights": 9_200_000, "torch": 500_000_000, "tiny": 2_000_000})
    assert table.splitlines()[2:] == [
        "| torch | 500.0 |",
        "| weights | 9.2 |",
        "| everything smaller | 3.0 |",
        "| **together** | **512.2** |",
    ]


def test_trimming_leaves_the_packages_and_their_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trim = load_script("trim_environment", monkeypatch)
    packages = tmp_path / "lib/python3.11/site-packages"
    kept = ["torch/__init__.py", "torch/bin/torch_shm_manager", "torch/lib/libtorch.so", "torch/testing/a.py"]
    kept += ["scipy/ndimage/__init__.py", "scipy/tests.py", "numpy/tests/a.py"]
    kept += ["PIL/AvifImagePlugin.py", "pillow.libs/libjpeg-1.so", "pydicom/data/charset_files/a.dcm"]
    gone = ["torch/test/a.py", "torch/bin/protoc", "torch/include/ATen/a.h", "torch/lib/libx.a"]
    gone += ["scipy/ndimage/tests/data/tests/a.npy", "scipy/ndimage/tests/a.py", "sympy/tests/a.py"]
    gone += ["PIL/_avif.cpython-311.so", "pillow.libs/libavif-1.so", "pydicom/data/test_files/dicomdirtests/a"]
    for name in kept + gone:
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_bytes(b"x" * 1_000_000)
    trim.main(tmp_path)
    left = sorted(str(path.relative_to(packages)) for path in packages.rglob("*") if path.is_file())
    assert left == sorted(kept)
    assert capsys.readouterr().out.splitlines()[-1].split() == ["10.0", "MB", "removed"]


def test_files_are_counted_where_they_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    size = load_script("image_size", monkeypatch)
    groups = {
        size.PACKAGES / "torch" / "lib" / "a.so": "torch",
        size.PACKAGES / "scipy.libs" / "a.so": "scipy",
        size.PACKAGES / "torch-2.13.0+cpu.dist-info" / "RECORD": "torch",
        size.PACKAGES / "torch" / "__pycache__" / "a.pyc": "packages, compiled",
        Path("/workspace/weights/lite/model.safetensors"): "weights",
        Path("/workspace/predict.sh"): "the program",
        size.BASE_PYTHON / "json" / "__init__.py": "base: Python's library",
        Path("/bin/bash"): "base: everything else",
    }
    assert {path: size.group_of(path) for path in groups} == groups
