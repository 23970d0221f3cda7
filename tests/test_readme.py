"""The command blocks of README.md and docs/: the script that runs them, and all of them, word for word."""

import ast
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.script import load_script
from train.recipes.choice import chosen_recipe

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

<!-- file: notes/list.txt -->
```text
of the block
```

- In a list:

  ```sh
  echo one \\
      two >>../log

  {last}
  echo never >>../log
  ```

<!-- not run: it needs a moon -->
```sh
exit 9
```
"""

GUIDE = """
```sh
cat notes/list.txt >>../log
pwd >>../log
```
"""

PROGRAMS = re.compile(r"^(?:\$ )?(?:flare-\w+|sh|python|pip|docker|torchrun|git|ln) ", re.MULTILINE)
"""Beginnings of commands, which stand in blocks that are marked `sh`."""


def not_run_by(block, root: Path) -> Iterator[str]:
    """The commands of a block that none of the files that its comment names runs; a line for each."""
    files = [root / name for name in block.said.split(", ")]
    yield from (f"there is no {path}" for path in files if not path.is_file())
    run = [words for path in files if path.is_file() for words in words_run(path)]
    for _, command in block.commands():
        if not any(words_that_matter(command) <= words for words in run):
            yield f"not run by {block.said}: {command}"


def words_run(path: Path) -> list[set[str]]:
    """The words in the texts of each function of a Python file, its docstring left out, or of each line of a script."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return [set(line.split()) for line in text.splitlines()]
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    for function in functions:
        if ast.get_docstring(function) is not None:
            del function.body[0]
    return [
        {word for node in ast.walk(function) if isinstance(node, ast.Constant) for word in str(node.value).split()}
        for function in functions
    ]


def words_that_matter(command: str) -> set[str]:
    """Of a command of ours its subcommand and its options, since a test has paths of its own; of others every word."""
    program, *words = shlex.split(command, comments=True)
    ours = program.startswith("flare-")
    return {words[0], *(word for word in words if word.startswith("-"))} if ours else {program, *words}


@pytest.fixture
def readme(monkeypatch: pytest.MonkeyPatch):
    return load_script("readme", monkeypatch)


@pytest.fixture
def checkout(readme, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of documents alone, which stands in the place of this one."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "checkout"
    (folder / "docs").mkdir(parents=True)
    (folder / "README.md").write_text("of the last commit")
    (folder / "notes").mkdir()
    (folder / "notes" / "list.txt").write_text("of the last commit\n")
    for words in (["init", "-q"], ["add", "README.md", "notes"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    monkeypatch.setattr(readme, "ROOT", folder)
    return folder


def test_a_command_is_taken_as_it_stands(readme, checkout) -> None:
    (checkout / "README.md").write_text(README)
    blocks = list(readme.blocks_of("README.md"))
    assert [(block.number, block.language, block.mark, block.said) for block in blocks] == [
        (3, "sh", "", ""),
        (10, "python", "", ""),
        (15, "text", "file", "notes/list.txt"),
        (21, "sh", "", ""),
        (30, "sh", "not run", "it needs a moon"),
    ]
    assert list(blocks[3].commands()) == [
        (21, "echo one \\\n    two >>../log"),
        (24, "{last}"),
        (25, "echo never >>../log"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Text.\n\n```sh\necho one\n", "README.md:3: the block has no end"),
        ("<!-- not run: it needs a moon -->\n\n```sh\necho one\n```\n", "README.md:1: expected a block below"),
        ("<!-- file: a.toml -->", "README.md:1: expected a block below"),
    ],
)
def test_a_block_without_an_end_and_a_comment_without_a_block_are_errors(readme, checkout, text, said) -> None:
    (checkout / "README.md").write_text(text)
    with pytest.raises(ValueError, match=said):
        list(readme.blocks_of("README.md"))


def test_commands_run_in_order_in_a_clone_of_what_is_there_until_one_fails(readme, checkout, tmp_path, capfd) -> None:
    (checkout / "README.md").write_text(README.format(last="exit 7   # fails"))
    work = tmp_path / "work"
    work.mkdir()
    assert readme.run_all(work, quick=True) == 1
    assert (work / "log").read_text().splitlines() == [str(work / "flare"), "one two"]
    assert (work / "flare" / "README.md").read_text() == (checkout / "README.md").read_text()
    assert "README.md:24: exit code 7: exit 7   # fails" in capfd.readouterr().err


def test_documents_run_in_the_clone_and_what_does_not_is_listed_with_the_reason(
    readme, checkout, tmp_path, capfd
) -> None:
    (checkout / "README.md").write_text(README.format(last="true").replace("echo never >>../log", "mkdir on"))
    (checkout / "docs" / "guide.md").write_text(GUIDE)
    work = tmp_path / "work"
    work.mkdir()
    assert readme.run_all(work, quick=True) == 0
    assert (work / "log").read_text().splitlines()[1:] == ["one two", "of the block", str(work / "flare")]
    assert "README.md:30: not run: it needs a moon" in capfd.readouterr().out


@pytest.mark.parametrize(("words", "more"), [("fit STORE RUN", " --steps 2"), ("scan DATASET", "")])
def test_the_quick_form_shortens_what_takes_long(readme, tmp_path: Path, words: str, more: str) -> None:
    for name in ("bin", "quick"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin" / "flare-train").symlink_to("/bin/echo")
    readme.shorten(tmp_path / "quick" / "flare-train")
    ran = subprocess.run([tmp_path / "quick" / "flare-train", *words.split()], stdout=subprocess.PIPE, check=True)
    assert ran.stdout.decode() == f"{words}{more}\n"


def test_every_block_runs_here_or_says_what_runs_it_or_why_it_cannot(readme) -> None:
    blocks = [block for document in readme.documents() for block in readme.blocks_of(document)]
    commands = [block for block in blocks if block.language == "sh"]
    assert {"README.md", "docs/train-tutorial.md", "docs/runs.md"} <= {block.document for block in commands}
    assert blocks[0].text.startswith("git clone REPOSITORY ")
    assert sum(not block.mark for block in commands) > 15
    for block in blocks:
        place = f"{block.document}:{block.number}"
        if block.language != "sh":
            assert block.mark in ("", "file"), place
            assert not PROGRAMS.search(block.text), f"{place}: commands stand in a block that is marked sh"
        elif block.mark == "run by":
            assert not list(not_run_by(block, ROOT)), place
        elif block.mark:
            assert block.mark == "not run", place
            assert len(block.said.split()) >= 4, f"{place}: a reason is a sentence"


@pytest.mark.parametrize(
    ("name", "text", "commands", "missing"),
    [
        ("test_a.py", 'def test_a():\n    run(app, "fit", run, "--steps", 2)\n', "flare-train fit RUN --steps 9", 0),
        ("test_a.py", 'def test_a():\n    run(app, "fit", run)\n', "flare-train fit RUN --steps 9", 1),
        ("test_a.py", 'def test_a():\n    """fit --steps"""\n', "flare-train fit RUN --steps 9", 1),
        ("test_a.py", 'def a():\n    go("fit")\n\n\ndef b():\n    go("--steps")\n', "flare-train fit --steps", 1),
        ("go", "# once\nexec sh scripts/test -x\n", "sh scripts/test   # all", 0),
        ("go", "sh scripts/demo\n", "sh scripts/test\nsh scripts/demo", 1),
        ("gone", None, "true", 2),
    ],
)
def test_what_is_said_to_be_run_is_looked_for(readme, tmp_path, name, text, commands, missing) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    block = readme.Block(document="a.md", number=1, language="sh", text=commands, mark="run by", said=name)
    assert len(list(not_run_by(block, tmp_path))) == missing


def test_recipes_in_the_documents_are_recipes(readme, tmp_path: Path) -> None:
    texts = [block.text for name in ("tutorial", "reference") for block in readme.blocks_of(f"docs/train-{name}.md")]
    configs = [text for text in texts if re.search(r"^steps = ", text, re.MULTILINE)]
    assert len(configs) == 2
    for text in configs:
        (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
        assert chosen_recipe("lite", config=tmp_path / "mine.toml").steps > 1


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 900


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
