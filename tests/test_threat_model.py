"""The threat model names tests that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_tests_that_the_threat_model_names_are_there() -> None:
    named = set(re.findall(r"`(\w+/test_\w+\.py)`", (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")))
    assert len(named) > 5
    assert [name for name in sorted(named) if not (ROOT / "tests" / "flare_infer" / name).is_file()] == []


def test_the_audit_reads_the_pinned_versions() -> None:
    command = next(line for line in (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines() if "-r " in line)
    file = command.split()[-1]
    assert "--strict" in command  # without it, a service that knows no package passes every pin
    pins = [line for line in (ROOT / file).read_text(encoding="utf-8").splitlines() if line and line[0] not in "#-"]
    assert pins
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
