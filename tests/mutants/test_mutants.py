"""Every change in the tables still applies, and the program that tries them tells killed from survived."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants.__main__ import main
from tests.mutants.changes import Change, TableError, read_changes
from tests.mutants.results import append_trial, read_trials, report, score
from tests.mutants.trial import ROOT, Copy, Trial, key_of

CHANGES = read_changes()

TOY = Change(
    name="toy",
    file="toy/sums.py",
    old="one + other",
    new="one - other",
    tests=("tests/test_sums.py",),
    why="Sums would be wrong.",
)


def test_every_change_still_applies() -> None:
    problems = []
    for change in CHANGES:
        try:
            change.applied((ROOT / change.file).read_text(encoding="utf-8"))
        except (TableError, FileNotFoundError) as error:
            problems.append(str(error))
    assert not problems, "\n".join(problems)


def test_every_test_that_a_change_names_is_there() -> None:
    missing = []
    for change in CHANGES:
        for test in change.tests:
            file, _, name = test.partition("::")
            path = ROOT / file
            if not path.is_file() or (
                name and f"def {name.partition('[')[0]}(" not in path.read_text(encoding="utf-8")
            ):
                missing.append(f"{change.name}: {test}")
    assert not missing, "\n".join(missing)


def test_the_table_covers_the_packages_and_says_why() -> None:
    assert len(CHANGES) >= 150
    assert {change.file.split("/")[0] for change in CHANGES} == {"flare_infer", "flare_eval", "flare_serve", "train"}
    assert all(change.why.strip().endswith(".") for change in CHANGES)
    assert sum(bool(change.survives) for change in CHANGES) <= 0.05 * len(CHANGES)


def test_a_change_that_does_not_apply_exactly_once_is_an_error() -> None:
    assert TOY.applied("return one + other") == "return one - other"
    for source in ("return one", "one + other, one + other"):
        with pytest.raises(TableError, match=f"toy: the old text occurs {source.count('+')} times in toy/sums.py"):
            TOY.applied(source)
    with pytest.raises(TableError, match="the new text is the old one"):
        replace(TOY, new=TOY.old).applied("one + other")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project of one function and one test, with this machinery in it."""
    root = tmp_path / "checkout"
    for name, text in {
        "toy/sums.py": "def add(one, other):\n    return one + other\n",
        "tests/test_sums.py": "from toy.sums import add\n\n\ndef test_add():\n    assert add(0, 1) == 1\n",
        "tests/test_nothing.py": "def test_nothing():\n    pass\n",
        "tests/mutants/server.py": (ROOT / "tests" / "mutants" / "server.py").read_text(encoding="utf-8"),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    return root


def test_a_change_is_killed_survives_or_cannot_be_judged_and_the_checkout_is_left_alone(
    checkout: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in checkout.rglob("*.py")}
    copy = Copy(checkout, tmp_path / "copy", heavy=("pytest", "a_module_that_is_not_there"))
    try:
        assert copy.problem_unchanged(TOY.tests) == ""
        assert "pytest ended with" in copy.problem_unchanged(["tests/none.py"])
        killed = copy.try_change(TOY)
        assert (killed.outcome, killed.by) == ("killed", "tests/test_sums.py::test_add")
        survived = copy.try_change(replace(TOY, tests=("tests/test_nothing.py",)))
        assert (survived.outcome, survived.by) == ("survived", "")
        broken = copy.try_change(replace(TOY, new="one + + )"))
        assert broken.outcome == "broken", "a file that is no Python says nothing about the tests"
        assert copy.problem_unchanged(TOY.tests) == "", "every change is undone"
    finally:
        copy.close()
    assert {path: path.read_bytes() for path in checkout.rglob("*.py")} == before


def test_a_result_is_good_for_one_state_of_change_file_and_tests(checkout: Path) -> None:
    key = key_of(TOY, checkout)
    assert key_of(replace(TOY, new="other"), checkout) != key
    for name in ("toy/sums.py", "tests/test_sums.py"):
        before = (checkout / name).read_text()
        (checkout / name).write_text(f"{before}#\n")
        assert key_of(TOY, checkout) != key
        (checkout / name).write_text(before)
    (checkout / "tests" / "test_nothing.py").write_text("#\n")
    assert key_of(TOY, checkout) == key


def test_results_are_kept_and_reported(tmp_path: Path) -> None:
    path = tmp_path / "build" / "results.jsonl"
    other = replace(TOY, name="other", survives="Equivalent.")
    third = replace(TOY, name="third")
    append_trial(path, Trial(name="toy", key="0", outcome="survived", by=""))
    append_trial(path, Trial(name="toy", key="1", outcome="killed", by="tests/a/test_b.py::test_c"))
    append_trial(path, Trial(name="other", key="2", outcome="survived", by=""))
    with path.open("a") as file:
        file.write('{"name": "third", "ke')
    trials = read_trials(path)
    assert {name: trial.outcome for name, trial in trials.items()} == {"toy": "killed", "other": "survived"}
    assert score([TOY, other, third], trials) == "1 of 2 changes killed (50.0%), 1 survived, 1 not tried yet"
    text = report([TOY, other, third], trials)
    assert "- `other` (toy/sums.py): Equivalent." in text
    assert "| toy | toy/sums.py | Sums would be wrong. | test_b.py::test_c |" in text
    assert "| third | toy/sums.py | Sums would be wrong. | not tried |" in text


def test_what_is_known_is_not_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change = next(change for change in CHANGES if not change.survives)
    results = tmp_path / "results.jsonl"
    append_trial(results, Trial(name=change.name, key=key_of(change, ROOT), outcome="killed", by="a test"))
    assert main(["--only", f"{change.file} {change.name}", "--results", str(results)]) == 0
    assert capsys.readouterr().out == "1 of 1 changes killed (100.0%), 0 survived\n"
