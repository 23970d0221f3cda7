"""CutMix and a changed recipe, with the commands a user types."""

from pathlib import Path

from tests.dataset import make_dataset
from tests.train.commands.test_app import run
from train.commands.app import app as train_app
from train.record.journal import read_journal


def test_prepare_objects_fit_with_a_config(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"organs": (1, 2, 3, 13), "tumor": (1, 14)})
    store, objects, trained, config = (tmp_path / name for name in ("store", "objects", "run", "config.toml"))
    config.write_text('steps = 4\ncutmix = true\n[sampling]\ntype_sampling = "proportional"\n')
    options = ("--recipe", "smoke", "--config", config)
    assert run(train_app, "prepare", dataset, store, *options)[0] == 0
    assert run(train_app, "objects", dataset, objects, "--store", store, *options)[0] == 0
    fit = ("fit", store, trained, *options, "--device", "cpu")

    code, _, stderr = run(train_app, *fit)
    assert code == 2
    assert "this recipe pastes tumor objects: name their folder" in stderr

    assert run(train_app, *fit, "--objects", objects)[0] == 0
    rows = read_journal(trained)
    assert len(rows) == 4
    assert sum(int(row["pasted"]) for row in rows) > 0

    config.write_text("stepps = 4")
    code, _, stderr = run(train_app, *fit)
    assert code == 2
    (line,) = stderr.splitlines()
    assert line == f"error: {config}: stepps: no such field; the nearest is steps"
