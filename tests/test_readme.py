"""README.md's blocks: the script that runs them, and all of them, word for word."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.script import load_script

ROOT = Path(__file__).resolve().parents[1]

README = """
```sh
git clone REPOSITORY flare && cd flare   # goes on in there
pwd >>../log
```

Text, and what is no command:

```python
raise SystemExit
```

```sh
echo one \\
    two >>../log

sh scripts/test    # everything
{last}
echo never >>../log
```
"""


@pytest.fixture
def readme(monkeypatch: pytest.MonkeyPatch):
    return load_script("readme", monkeypatch)


@pytest.fixture
def checkout(readme, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of a README alone, which stands in the place of this one."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "README.md").write_text("of the last commit")
    for words in (["init", "-q"], ["add", "README.md"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    monkeypatch.setattr(readme, "ROOT", folder)
    return folder


def test_a_command_is_taken_as_it_stands(readme) -> None:
    lines = list(readme.lines_of(README))
    assert [(line.number, line.text.split()[0]) for line in lines] == [
        (3, "git"),
        (4, "pwd"),
        (14, "echo"),
        (17, "sh"),
        (18, "{last}"),
        (19, "echo"),
    ]
    assert lines[2].text == "echo one \\\n    two >>../log"
    assert [line.number for line in lines if line.why_not] == [17]


def test_lines_run_in_order_in_a_clone_of_what_is_there_until_one_fails(readme, checkout, tmp_path, capfd) -> None:
    (checkout / "README.md").write_text(README.format(last="exit 7   # fails"))
    work = tmp_path / "work"
    work.mkdir()
    assert readme.run_all(work, quick=True) == 1
    assert (work / "log").read_text().splitlines() == [str(work / "flare"), "one two"]
    assert (work / "flare" / "README.md").read_text() == (checkout / "README.md").read_text()
    assert "README.md:18: exit code 7: exit 7   # fails" in capfd.readouterr().err


def test_what_is_not_run_is_listed_with_the_reason(readme, checkout, tmp_path, capfd) -> None:
    (checkout / "README.md").write_text(README.format(last="true").replace("echo never", "echo last"))
    work = tmp_path / "work"
    work.mkdir()
    assert readme.run_all(work, quick=True) == 0
    assert (work / "log").read_text().splitlines()[1:] == ["one two", "last"]
    said = capfd.readouterr().out
    assert f"README.md:17: not run: sh scripts/test    # everything: {readme.NOT_RUN['sh scripts/test']}" in said


def test_no_reason_is_left_over(readme) -> None:
    lines = list(readme.lines_of((ROOT / "README.md").read_text(encoding="utf-8")))
    assert lines[0].text.startswith("git clone REPOSITORY ")
    assert len(lines) > 15
    for start in readme.NOT_RUN:
        assert any(line.text.startswith(start) for line in lines)


@pytest.mark.slow
def test_the_readme_runs(readme, tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    assert readme.main(["--keep", str(tmp_path / "work")]) == 0


def test_the_readme_names_the_pytorch_that_is_pinned() -> None:
    pinned = next(
        line
        for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if line.startswith("torch==")
    )
    assert f"`pip install {pinned}`" in (ROOT / "README.md").read_text(encoding="utf-8")
