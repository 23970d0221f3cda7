"""The small example is a pipeline as it stands; what it takes is measured by running it, see docs/reproduce.md."""

from pathlib import Path

import pytest

from flare_infer.labels import ORGANS, TUMOR
from tests.train.commands.test_app import run
from train.commands.app import app
from train.dataset.cases import read_cases
from train.protocol import example
from train.protocol.config import read_config
from train.synth.cohort_plan import CaseGroup, CohortPlan


def test_the_example_is_a_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = (
        CaseGroup(name="full", annotated=ORGANS, cases=1),
        CaseGroup(name="tumor", annotated=(TUMOR,), cases=1),
    )
    plan = CohortPlan(groups=groups, unlabeled=4, validation=1, patients=1, spacing_mm=(6.0, 6.0, 6.0))
    monkeypatch.setattr(example, "PLAN", plan)
    folder = tmp_path / "an example"
    code, stdout, _ = run(app, "pipeline", "--example", "small", folder)
    assert code == 0
    assert stdout.endswith(f"now: flare-train pipeline '{folder / 'pipeline.toml'}'\n")
    assert not (folder / "run").exists(), "nothing is started"
    assert [case.name for case in read_cases(folder / "cohort") if case.validation] == ["validation_000"]
    code, stdout, _ = run(app, "pipeline", folder / "pipeline.toml", "--plan")
    assert code == 0
    assert "19 of 19 stages to run" in stdout
    code, _, stderr = run(app, "pipeline", "--example", "small", folder)
    assert code == 2
    assert "nothing is overwritten" in stderr


def test_the_real_one_holds_every_kind_of_case_and_is_small(tmp_path: Path) -> None:
    assert {TUMOR} in [set(group.annotated) for group in example.PLAN.groups]
    assert example.PLAN.unlabeled >= 3
    assert example.CASES <= 24
    (tmp_path / "pipeline.toml").write_text(example.CONFIG)
    config = read_config(tmp_path / "pipeline.toml")
    recipes = [made[0] for model in (config.fine, config.coarse) for made in model.recipes().values()]
    assert sum(recipe.steps for recipe in recipes) <= 1000
    assert [(recipe.cutmix, recipe.cleaning, recipe.unlabeled) for recipe in recipes[-1:]] == [(True, True, True)]
