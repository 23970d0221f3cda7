"""The file that says what a pipeline does."""

import tomllib
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from flare_infer.errors import UsageError
from flare_infer.files.record import field_problems
from tests.dataset import make_dataset
from train.config_file import changed_fields, overridden
from train.problems import ProblemsError
from train.protocol.config import Config, Data, Machine, Model, Pseudo, Test, read_config
from train.protocol.inspect_data import inspect_data
from train.protocol.stages import pipeline_stages, recipe_files
from train.recipes import recipe as recipes

EXAMPLE = Path(__file__).resolve().parents[3] / "docs" / "examples" / "pipeline.toml"


def written(folder: Path, text: str) -> Path:
    path = folder / "pipeline.toml"
    path.write_text(text)
    return path


def test_the_example_is_read_and_its_comments_state_the_defaults(tmp_path: Path) -> None:
    config = read_config(EXAMPLE)
    lines = [line.removeprefix("# ") for line in EXAMPLE.read_text().splitlines()]
    commented = [line for line in lines if line.startswith("[") or " = " in line]
    assert read_config(written(tmp_path, "\n".join(commented))) == replace(
        config,
        run=tmp_path / "run",
        data=Data(dataset=tmp_path / "FLARE23/labeled", unlabeled=tmp_path / "FLARE23/unlabeled"),
        fine=replace(config.fine, change={"steps": recipes.fine().steps}),
        coarse=replace(
            config.coarse, change=_of(recipes.coarse(), "steps", "partial_loss", "cutmix", "cleaning", "unlabeled")
        ),
        pseudo=replace(
            config.pseudo,
            organs=("fine", str(tmp_path / "predictions/flare22_first")),
            tumor=("fine", str(tmp_path / "predictions/flare23_first")),
        ),
        test=tuple(
            replace(
                test,
                images=tmp_path / "FLARE23/validation/images",
                labels=tmp_path / "FLARE23/validation/labels",
            )
            for test in config.test
        ),
    )


@pytest.mark.parametrize("kind", [Config, Data, Model, Pseudo, Test, Machine])
def test_the_example_explains_every_field(kind: type) -> None:
    for field in fields(kind):
        assert field.name in EXAMPLE.read_text()


def test_every_wrong_field_is_named_at_once(tmp_path: Path) -> None:
    text = """
        runn = "run"
        [data]
        unlabelled = "u"
        [fine]
        recipe = "fin"
        [coarse]
        recipe = "coarse"
        change = { step = 3, sampling = { foreground = 2.0 }, optimization = { learning_rate = "fast" } }
        [pseudo]
        select = 1.5
        [[test]]
        name = "a"
        [machine]
        workers = 0
    """
    with pytest.raises(ProblemsError) as caught:
        read_config(written(tmp_path, text))
    says = [line.removeprefix(f"{tmp_path / 'pipeline.toml'}: ") for line in caught.value.problems]
    for expected in (
        "runn: no such field; the nearest is run",
        "run: missing",
        "data.unlabelled: no such field; the nearest is unlabeled",
        "data.dataset: missing",
        "fine.recipe: expected one of coarse, fine, lite, smoke, found 'fin'",
        "coarse.change.step: no such field; the nearest is steps",
        "coarse.change.optimization.learning_rate: expected a number, found 'fast'",
        "pseudo.select: expected a whole number, found 1.5",
        "test[0].images: missing",
        "machine: workers and gpus must be at least 1, found 0 and 1",
    ):
        assert expected in says
    assert any(line.startswith("coarse.change.sampling: sampling needs foreground in [0, 1]") for line in says)
    assert len(says) == 11


def test_a_file_that_is_no_toml_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.toml", written(tmp_path, "run = ")):
        with pytest.raises(UsageError, match="not a readable TOML file"):
            read_config(path)


def test_everything_that_is_not_there_is_named_at_once(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"a": (1, 2, 14), "b": (1,)})
    (dataset / "splits.json").write_text('{"validation": ["nobody"]}')
    (tmp_path / "unlabeled").mkdir()
    for name in ("a", "c"):
        (tmp_path / "unlabeled" / f"{name}_0000.nii.gz").symlink_to(dataset / "imagesTr" / "a_0000.nii.gz")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "a.nii.gz").symlink_to(dataset / "labelsTr" / "a.nii.gz")
    text = """
        run = "run"
        data = { dataset = "dataset", unlabeled = "unlabeled" }
        coarse = { recipe = "lite" }
        [pseudo]
        organs = ["fine", "theirs", "fin"]
        tumor = ["fine"]
        [[test]]
        name = "test"
        images = "nowhere"
        labels = "nowhere"
        [machine]
        device = "abacus"
    """
    with pytest.raises(ProblemsError) as caught:
        inspect_data(read_config(written(tmp_path, text)))
    says = "\n".join(caught.value.problems)
    for expected in (
        "case nobody is not in the dataset",
        "unlabeled: a: labeled in",
        "coarse: this recipe leaves unlabeled cases out; set unlabeled = true in coarse.change",
        "pseudo.select: 1000 of 2 unlabeled cases",
        "theirs: no label map of c",
        "fin: neither a folder nor one of fine, fine-2023 (the nearest is fine)",
        "pseudo.tumor: uncertainty compares at least two sources, found 1",
        "test test: ",
        "machine.device: device 'abacus' is unknown",
    ):
        assert expected in says, says


def test_seeds_are_runs_and_sources(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, {"full": tuple(range(1, 15)), "tumor": (14,)})
    (tmp_path / "unlabeled").mkdir()
    (tmp_path / "unlabeled" / "u_0000.nii.gz").symlink_to(dataset / "imagesTr" / "full_0000.nii.gz")
    text = """
        run = "run"
        data = { dataset = "dataset", unlabeled = "unlabeled" }
        pseudo = { organs = ["fine-5", "fine"], tumor = ["fine-3", "fine-5"], select = 1, with_tumor = 0 }
        fine = { recipe = "smoke", seeds = [3, 5], change = { steps = 7 } }
        coarse = { recipe = "smoke", change = { unlabeled = true, cutmix = true } }
        machine = { device = "cpu" }
    """
    config = read_config(written(tmp_path, text))
    stages = pipeline_stages(config, inspect_data(config))
    assert [stage.name for stage in stages] == [
        *("prepare-fine", "fit-fine", "export-fine", "fit-fine-5", "export-fine-5"),
        *("gather", "predict-filling", "predict-unlabeled", "predict-unlabeled-5", "uncertainty", "select", "merge"),
        *("prepare-coarse", "objects", "fit-coarse", "export-coarse"),
    ]
    for index, stage in enumerate(stages):
        assert set(stage.after) <= {before.name for before in stages[:index]}
    compared = next(stage for stage in stages if stage.name == "uncertainty")
    folders = [Path(part).name for part in compared.command if part.startswith(str(tmp_path / "run" / "pseudo" / "u"))]
    assert folders[1:] == ["unlabeled-5", "unlabeled", "unlabeled", "unlabeled-5"]
    assert compared.after == ("predict-unlabeled-5", "predict-unlabeled")
    alone = read_config(written(tmp_path, text.replace(', unlabeled = "unlabeled"', "")))
    assert [stage.name for stage in pipeline_stages(alone, inspect_data(alone))] == [
        *("prepare-fine", "fit-fine", "export-fine", "gather", "predict-filling", "merge"),
        *("prepare-coarse", "objects", "fit-coarse", "export-coarse"),
    ]
    files = {path.name: change for path, change in recipe_files(config).items()}
    assert files["fine-5.toml"] == {"steps": 7, "seed": 5}
    assert (recipe := config.fine.recipes()[5][0]).steps == 7
    assert overridden(recipes.smoke(), tomllib.loads(tomli_w.dumps(files["fine-5.toml"]))) == recipe


def test_problems_of_fields_are_what_building_would_say() -> None:
    assert field_problems(Model, {"recipe": "lite"}) == []
    assert field_problems(recipes.TrainingRecipe, changed_fields(recipes.smoke(), {"steps": 0}), "fine.change") == [
        "fine.change: a recipe needs at least one step of at least one patch, found 0 of 2"
    ]


def _of(record: Any, *names: str) -> dict[str, Any]:
    return {name: asdict(record)[name] for name in names}
