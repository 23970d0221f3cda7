"""Label sets of any kind, from a dataset to scores, with the commands a user types."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flare_eval.commands.app import app as eval_app
from flare_infer.commands.app import app as infer_app
from flare_infer.files.label_set_file import read_label_set, write_label_set
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.geometry import Box
from flare_infer.label_set import FLARE23, LabelSet
from flare_infer.labels import IGNORED
from flare_infer.model.model_file import read_model_file
from flare_infer.volume.volume import crop
from tests.real_data import real_data
from tests.train.commands.test_app import run
from tests.train.painted_labels import paint_dataset
from train.batches.samples import Samples
from train.commands.app import app as train_app
from train.dataset.cases import read_cases
from train.dataset.check import read_case
from train.fit.validate import dice_of_case
from train.problems import ProblemsError
from train.protocol.config import read_config
from train.protocol.inspect_data import inspect_data
from train.protocol.stages import pipeline_stages
from train.recipes.recipe import smoke
from train.record.journal import read_journal
from train.store.air import known_air
from train.store.normalization import sample_foreground
from train.store.prepare import prepare_case
from train.store.store import PreparedCase
from train.store.tumor_objects import TumorObject

SMOKE = ("--recipe", "smoke")
GRAYS = {"femur": 300, "hip": 200, "lesion": 80}
SET = """
region = ["femur"]
pairs = [["hip", "femur"]]
[labels]
femur = 1
hip = 2
lesion = 3
[lesions]
lesion = ["femur"]
[tolerances_mm]
hip = 9
"""
CONFIG = """
steps = 3
cutmix = true
cleaning = true
cleaning_rules = { smallest_voxels = 2 }
validation = { every_steps = 2 }
"""


def done(app: object, *arguments: object) -> str:
    code, stdout, stderr = run(app, *arguments)
    assert code == 0, stderr + stdout
    return stdout


def three_folders(folder: Path) -> tuple[Path, Path, Path]:
    """Datasets that each annotate other classes, in their own numbers, the last one with nnU-Net's ignore label."""
    femurs: dict[str, list[str]] = {"a1": ["femur"], "a2": ["femur"]}
    first = paint_dataset(folder / "first", {"background": 0, "femur": 1}, femurs, GRAYS)
    second = paint_dataset(folder / "second", {"background": 0, "hip": 7}, {"b1": ["hip"], "b2": ["hip"]}, GRAYS)
    (second / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "Hip": 7}, "file_ending": ".nii.gz"}))
    numbers = {"background": 0, "lesion": 1, "femur": 2, "ignore": 3}
    third = paint_dataset(folder / "third", numbers, {"c1": ["femur", "lesion"]}, GRAYS)
    return first, second, third


def test_three_folders_that_annotate_other_classes_become_one_model(tmp_path: Path) -> None:
    """The commands of docs/own-labels.md."""
    first, second, third = three_folders(tmp_path)
    labels, config, joined = tmp_path / "labels.toml", tmp_path / "mine.toml", tmp_path / "joined"
    labels.write_text(SET)
    config.write_text(CONFIG)
    stdout = done(train_app, "join", first, second, third, joined, "--labels", labels)
    assert "5 cases of 3 datasets, 3 classes" in stdout
    assert json.loads((joined / "annotated.json").read_text())["c1"] == [1, 3]
    assert set(np.unique(read_volume(joined / "labelsTr" / "b1.nii.gz").array_zyx)) == {0, 2}

    assert "a label set of its own, 3 classes; lesions: 3 lesion" in done(train_app, "scan", joined)
    (joined / "splits.json").write_text('{"validation": ["a2"]}')
    store, objects, trained, weights = (tmp_path / name for name in ("store", "objects", "run", "weights"))
    options = (*SMOKE, "--config", config)
    done(train_app, "prepare", joined, store, *options)
    assert "1 tumor objects of 1 cases" in done(train_app, "objects", joined, objects, "--store", store, *options)
    done(train_app, "fit", store, trained, *options, "--objects", objects, "--device", "cpu")
    assert sum(int(row["pasted"]) + int(row["lost"]) for row in read_journal(trained)) > 0
    with (trained / "validation.csv").open() as file:
        header = next(csv.reader(file))
    assert header == ["step", "seconds", "femur", "hip", "lesion", "organs", "score", "ema"]
    done(train_app, "export", trained, store, weights, "--nnunet", tmp_path / "nnunet")
    spec = read_model_file(weights).spec
    assert spec.labels == ("background", "femur", "hip", "lesion")
    assert spec.label_set == read_label_set(labels)
    assert spec.training["annotated_cases"] == {"1": 2, "2": 2, "3": 1}
    named = json.loads((tmp_path / "nnunet" / "dataset.json").read_text())["labels"]
    assert named == {"background": 0, "femur": 1, "hip": 2, "lesion": 3}

    outputs, scores = tmp_path / "labels", tmp_path / "scores"
    done(
        infer_app,
        "predict",
        joined / "imagesTr",
        outputs,
        "--weights",
        weights,
        "--report",
        "--to",
        "masks,color-table",
    )
    assert (outputs / "a1.masks" / "lesion.nii.gz").exists()
    assert "3 lesion" in (outputs / "labels.ctbl").read_text()
    stdout = done(eval_app, "score", outputs, joined / "labelsTr", "--annotated", joined / "annotated.json",
                  "--weights", weights, "--out", scores, "--jobs", 1)  # fmt: skip
    assert "lesion mean (1 of 1)" in stdout
    assert "| 3 | lesion | 1 |" in (scores / "summary.md").read_text()

    # What does not fit together is refused in one line.
    for command, says in (
        (
            (eval_app, "score", outputs, joined / "labelsTr", "--mode", "official"),
            "official mode scores the challenge's",
        ),
        ((eval_app, "score", outputs, second / "labelsTr", "--weights", weights), 'code 7 is "Hip", which has code 2'),
        ((eval_app, "score", outputs, joined / "labelsTr", "--weights", "lite"), 'code 1 of the references is "femur"'),
        ((eval_app, "rank", scores, f"b={scores}"), "scores of another label set"),
    ):
        code, _, stderr = run(*command)
        assert code == 2, command
        assert says in stderr

    # Resuming with another set.
    fewer = paint_dataset(
        tmp_path / "fewer", {"background": 0, "femur": 1, "hip": 2, "toe": 3}, {"a1": ["femur"]}, GRAYS
    )
    done(train_app, "scan", fewer, "--own-labels")
    config.write_text(CONFIG.replace("cutmix = true", ""))
    code, _, stderr = run(train_app, "prepare", fewer, store, *options)
    assert code == 2
    assert "holds cases of another recipe" in stderr
    assert "label_set.names" in stderr
    done(train_app, "prepare", fewer, tmp_path / "fewer_store", *options)
    code, _, stderr = run(train_app, "fit", tmp_path / "fewer_store", trained, *options, "--device", "cpu")
    assert code == 2
    assert "learns the classes of another label set (it has lesion, the store toe)" in stderr


def test_forty_classes_from_a_dataset_of_nnunet_as_it_lies(tmp_path: Path) -> None:
    names = [f"vertebra {number}" for number in range(1, 41)]
    grays = {name: 50 + 10 * code for code, name in enumerate(names)}
    numbers = {"background": 0, **{name: code for code, name in enumerate(names, start=1)}, "ignore": 41}
    dataset = paint_dataset(tmp_path / "dataset", numbers, dict.fromkeys(("a", "b"), names), grays)
    assert len(np.unique(read_volume(dataset / "labelsTr" / "a.nii.gz").array_zyx)) == 41
    (dataset / "splits_final.json").write_text('[{"train": ["a"], "val": ["b"]}]')
    code, _, stderr = run(train_app, "scan", dataset)
    assert code == 2
    assert "--own-labels" in stderr
    assert "40 vertebra 40" in done(train_app, "scan", dataset, "--own-labels")

    store, trained, weights, outputs = (tmp_path / name for name in ("store", "run", "weights", "labels"))
    stdout = done(train_app, "prepare", dataset, store, *SMOKE)
    assert "2 cases prepared" in stdout
    assert "1 of them for validation" in stdout
    done(train_app, "fit", store, trained, *SMOKE, "--steps", 2, "--device", "cpu")
    done(train_app, "export", trained, store, weights)
    assert len(read_model_file(weights).spec.labels) == 41
    done(infer_app, "predict", dataset / "imagesTr", outputs, "--weights", weights, "--statistics")
    stdout = done(eval_app, "score", outputs, dataset / "labelsTr", "--weights", weights, "--jobs", 1)
    assert "class mean (40 of 40)" in stdout
    assert "none of the classes is a lesion" in stdout

    config = tmp_path / "cutmix.toml"
    config.write_text("cutmix = true")
    for command in (
        ("objects", dataset, tmp_path / "objects", "--store", store),
        ("fit", store, tmp_path / "second", "--device", "cpu"),
    ):
        code, _, stderr = run(train_app, *command, *SMOKE, "--config", config)
        assert code == 2
        assert "cutmix pastes lesions, and none of the classes is one (vertebra 1, vertebra 2" in stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[labels]\nfemur = 1\nFemur_ = 2", '"femur" and "Femur_" cannot be told apart'),
        ('[labels]\nfemur = 1\nlesion = 2\n[lesions]\nlesion = []', '"lesion" lies in no organ'),
        ('[labels]\nlesion = 1\n[lesions]\nlesion = ["lesion"]', '"lesion" cannot lie in "lesion", which is a lesion'),
        ('[labels]\nfemur = 1\nlesion = 2\n[lesions]\nlesion = ["hip"]', 'lesions: "hip" is none of the classes femur'),
        ("[labels]\nfemur = 2", 'codes are 1 to 1 without gaps; "femur" has 2, expected 1'),
        ("[labels]\nlimb = [1, 2]\nfemur = 1", '"limb" is a region'),
        ("[labels]\nfemur = 1\n[organs]\nfemur = 1", "organs: no such field"),
        ("lesion = 1", "expected a table `labels` of name and code, found nothing"),
        ("[labels]\nfemur = 1\n[tolerances_mm]\nfemur = -1", "femur: expected millimeters above 0, found -1"),
        ("[labels]\nfemur = 1\n[tolerances_mm]\nhip = 1", '"hip" is none of femur'),
        ("\n".join(["[labels]", *(f"c{code} = {code}" for code in range(1, 255))]), "expected 1 to 253 classes"),
    ],
)  # fmt: skip
def test_a_label_set_that_cannot_be_is_refused(tmp_path: Path, text: str, says: str) -> None:
    dataset = paint_dataset(tmp_path / "dataset", {"background": 0, "femur": 1}, {}, {})
    (dataset / "labels.toml").write_text(text)
    code, _, stderr = run(train_app, "prepare", dataset, tmp_path / "store")
    assert code == 2
    assert f"{dataset / 'labels.toml'}: " in stderr
    assert says in stderr


def test_the_challenges_set_is_the_one_without_a_file() -> None:
    assert FLARE23.lesion_codes == (14,)
    assert FLARE23.organs == tuple(range(1, 14))
    assert FLARE23.beyond_codes == (5, 6, 10)
    assert FLARE23.pair_codes == ((2, 13), (7, 8))
    assert FLARE23.hollow_codes == (10, 11, 12)


def test_real_partial_sets_under_foreign_names_and_codes_train_the_same_weights(tmp_path: Path) -> None:
    """Names and numbers are for people: what is learned from two real cases does not depend on them."""
    cases = {"ircad17": (1, 14), "crlm1006": (2, 3, 11, 13)}
    foreign = tuple(f"thing {letter}" for letter in "zyxwvutsrqponm")
    named = dict(zip(FLARE23.names[1:], foreign, strict=True))
    renamed = LabelSet(
        names=("nothing", *foreign),
        lesions={named[name]: tuple(named[host] for host in hosts) for name, hosts in FLARE23.lesions.items()},
        region=tuple(named[name] for name in FLARE23.region),
        hollow=tuple(named[name] for name in FLARE23.hollow),
        lung_is_background=True,
    )
    trained = {}
    for place, label_set, shift in ((tmp_path / "ours", FLARE23, 0), (tmp_path / "theirs", renamed, 1000)):
        dataset = place / "dataset"
        numbers = {name: code + shift if code else 0 for code, name in enumerate(label_set.names)}
        for folder in ("imagesTr", "labelsTr"):
            (dataset / folder).mkdir(parents=True)
        (dataset / "dataset.json").write_text(json.dumps({"labels": numbers, "file_ending": ".nii.gz"}))
        (dataset / "annotated.json").write_text(json.dumps(cases))
        if shift:
            write_label_set(dataset / "labels.toml", label_set)
        for name, codes in cases.items():
            scan, drawn = (read_volume(real_data() / "ct" / f"{name}{end}.nii.gz") for end in ("_0000", "_labels"))
            box = Box.around(np.isin(drawn.array_zyx, codes))
            assert box is not None
            kept = np.where(np.isin(drawn.array_zyx, codes), drawn.array_zyx.astype(np.uint16) + shift, 0)
            write_volume(dataset / "imagesTr" / f"{name}_0000.nii.gz", crop(scan, box))
            numbered = replace(drawn, array_zyx=np.where(kept == shift, 0, kept).astype(np.uint16))
            write_volume(dataset / "labelsTr" / f"{name}.nii.gz", crop(numbered, box))
        config = tmp_path / "cutmix.toml"
        config.write_text("steps = 3\ncutmix = true\n")
        options = (*SMOKE, "--config", config)
        done(train_app, "prepare", dataset, place / "store", *options)
        done(train_app, "objects", dataset, place / "objects", "--store", place / "store", *options)
        fit = ("fit", place / "store", place / "run", *options, "--objects", place / "objects", "--device", "cpu")
        done(train_app, *fit)
        assert sum(int(row["pasted"]) for row in read_journal(place / "run")) > 0
        trained[shift] = torch.load(place / "run" / "checkpoint.pt", weights_only=True)["network"]
    assert trained[0].keys() == trained[1000].keys()
    assert all(torch.equal(trained[0][name], trained[1000][name]) for name in trained[0])


def test_what_is_ignored_reaches_no_loss_no_normalization_and_no_score(tmp_path: Path) -> None:
    numbers = {"background": 0, "femur": 1, "hip": 2, "ignore": 3}
    dataset = paint_dataset(tmp_path / "dataset", numbers, {"a": ["femur", "ignore"]}, {"femur": 300, "ignore": 2000})
    done(train_app, "scan", dataset, "--own-labels")
    (case,) = read_cases(dataset)
    assert case.annotated == (1, 2), "every case annotates what dataset.json names, and ignore is no class"
    voxels = read_case(case)
    assert voxels.present == (1,)
    assert IGNORED in np.unique(voxels.labels.array_zyx)
    assert sample_foreground(voxels.image.array_zyx, voxels.labels.array_zyx, 10_000).max() < 1000
    spec = smoke().for_labels(case.label_set).spec
    prepared = prepare_case(case, spec)
    assert IGNORED in np.unique(np.asarray(prepared.labels_zyx))
    assert list(prepared.locations) == [1]
    unknown = np.asarray(prepared.labels_zyx) == IGNORED
    claimed = np.where(unknown | (np.asarray(prepared.labels_zyx) == 1), 1, 0).astype(np.uint8)
    assert dice_of_case(claimed, np.asarray(prepared.labels_zyx), case.annotated, spec) == {1: 1.0}


def test_air_inside_is_background_only_where_the_set_says_so(tmp_path: Path) -> None:
    image = np.full((30, 40, 40), -1000.0, dtype=np.float32)
    image[:, 2:-2, 2:-2] = 0.0
    image[5:25, 10:30, 10:30] = -800.0
    for text, found in (({}, False), ({"lung_is_background": True}, True), ({"hollow": ("gut",)}, True)):
        known = known_air(image, (4.0, 4.0, 4.0), (1,), LabelSet(names=("background", "gut", "hip"), **text))
        assert bool(known[15, 20, 20]) is found, text
        assert known[15, 0, 0]
    assert not known_air(image, (4.0, 4.0, 4.0), (2,), LabelSet(names=("background", "gut", "hip"), hollow=("gut",)))[
        15, 20, 20
    ]


def test_a_lesion_is_pasted_only_where_an_organ_is_that_it_lies_in() -> None:
    recipe = smoke().for_labels(LabelSet(names=("background", "femur", "hip", "tear"), lesions={"tear": ("hip",)}))
    rng = np.random.default_rng(0)
    cases = []
    for code in (1, 2):
        labels = np.zeros((20, 20, 20), dtype=np.uint8)
        labels[4:16, 4:16, 4:16] = code
        where = {code: np.argwhere(labels == code).astype(np.int32)}
        image = rng.normal(size=labels.shape).astype(np.float16)
        cases.append(
            PreparedCase(name=str(code), annotated=(code,), image_zyx=image, labels_zyx=labels, locations=where)
        )
    tear = np.full((4, 4, 4), 3, dtype=np.uint8)
    item = TumorObject(
        name="c_000",
        case="c",
        annotated=(2, 3),
        image_zyx=np.zeros(tear.shape, dtype=np.float16),
        labels_zyx=tear,
        code=3,
    )
    fates = {case.name: {Samples(recipe, [case], [item]).draw(step, 0).paste for step in range(6)} for case in cases}
    assert fates["1"] == {"none"}
    assert "pasted" in fates["2"]


def test_pseudo_labels_and_the_stages_of_a_pipeline_take_the_set(tmp_path: Path) -> None:
    numbers = {"background": 0, "femur": 1, "hip": 2, "lesion": 3}
    dataset = paint_dataset(tmp_path / "dataset", numbers, {"a": ["lesion"], "b": ["femur", "hip"]}, GRAYS)
    unlabeled = paint_dataset(tmp_path / "unlabeled", numbers, {"u": ["femur", "hip", "lesion"]}, GRAYS)
    (dataset / "labels.toml").write_text(SET)
    (dataset / "annotated.json").write_text('{"a": ["lesion"], "b": [1, 2]}')
    table, chosen, merged = (tmp_path / name for name in ("table.csv", "chosen.json", "merged"))
    labels, again = unlabeled / "labelsTr", tmp_path / "again"
    shutil.copytree(labels, again)
    folders = ("--organs", labels, "--organs", again, "--tumor", labels, "--tumor", again)
    done(train_app, "uncertainty", table, *folders, "--labels", dataset)
    assert table.read_text().splitlines()[1] == "u,0.0,0.0"
    done(train_app, "select", table, chosen, "--count", 1, "--with-tumor", 0)
    filled = paint_dataset(tmp_path / "filled", numbers, {"a": ["femur", "hip"]}, GRAYS) / "labelsTr"
    stdout = done(train_app, "merge", dataset, merged, "--organs", filled, "--images", unlabeled / "imagesTr",
                  "--labels", labels, "--selection", chosen)  # fmt: skip
    assert "1 with a model's organs" in stdout
    assert json.loads((merged / "annotated.json").read_text()) == {"a": [1, 2, 3], "b": [1, 2], "u": [1, 2, 3]}
    assert set(np.unique(read_volume(merged / "labelsTr" / "u.nii.gz").array_zyx)) == {0, 1, 2}, "a host has no lesion"
    assert read_cases(merged)[0].label_set == read_label_set(dataset / "labels.toml")

    file = tmp_path / "pipeline.toml"
    text = f'run = "run"\n[data]\ndataset = "{dataset}"\n[fine]\nrecipe = "smoke"\n[coarse]\nrecipe = "smoke"\n'
    tests = f'[[test]]\nname = "t"\nimages = "{unlabeled / "imagesTr"}"\nlabels = "{labels}"\n'
    file.write_text(text + tests)
    with pytest.raises(
        ProblemsError, match=r'official mode needs the challenge.s classes, not these; set mode = "fixed"'
    ):
        inspect_data(read_config(file))
    file.write_text(text + tests + 'mode = "fixed"\n')
    config = read_config(file)
    counts = inspect_data(config)
    assert (counts.lacking, counts.tumors) == (1, 1)
    fit = next(stage for stage in pipeline_stages(config, counts) if stage.name == "fit-coarse")
    assert fit.settings["recipe"]["spec"]["labels"] == ("background", "femur", "hip", "lesion")
