"""The protocol of the shipped weights: the file that ships, and all of it in small."""

import copy
import json
import shutil
import signal
import tomllib
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from flare_infer.files.hashing import sha256_of_file
from flare_infer.formats.volume_io import read_volume, write_volume
from flare_infer.model.model_file import read_model_file
from flare_infer.volume.volume import Volume
from tests.train.protocol.test_pipeline import command, start, wait_for
from tests.train.synth.test_cohort import write_maps
from train.export.average import Average
from train.problems import ProblemsError
from train.protocol.assemble import Cases
from train.protocol.lite_config import Cohort, LiteConfig, LiteData, read_lite_config
from train.protocol.run import describe_run, plan_pipeline, read_pipeline
from train.record.journal import read_journal
from train.synth.phantom import paint_phantom
from train.synth.tumor_shapes import HOSTS
from train.workflow.engine import PipelineCallbacks, run_plan
from train.workflow.plan import make_plan

ROOT = Path(__file__).resolve().parents[3]
SPACING_MM = (8.0, 8.0, 8.0)
SHIPPED = ROOT / "docs" / "examples" / "lite.toml"

PAINT = ["paint-first", "paint-torsos", "paint-benign", "paint-unenhanced", "paint-invented"]
FIRST = ["prepare-first", "fit-first", "export-first"]


def second(name: str) -> list[str]:
    return [f"{stage}-{name}" for stage in ("dataset", "prepare", "fit", "export")]


STAGES = [
    *(PAINT + FIRST + second("torsos") + second("benign")),
    *("average-teacher", "predict-unlabeled", *second("student"), "average-weights"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients to learn from, one who is held out and has an unlabeled scan, too, and two other unlabeled ones."""
    folder = tmp_path_factory.mktemp("lite")
    write_maps(folder / "data" / "labels", 2)
    for name in ("ct", "ct_unlabeled"):
        (folder / "data" / name).mkdir()
    for seed, name in enumerate(("real", "other", "held_out")):
        image, codes = phantom(seed)
        drawn = replace(codes, array_zyx=codes.array_zyx * (codes.array_zyx == 1))
        write_volume(folder / "data" / "ct" / f"{name}_0000.nii.gz", image)
        write_volume(folder / "data" / "ct" / f"{name}_labels.nii.gz", drawn)
    for seed, name in ((7, "unlabeled"), (8, "of_held_out")):
        write_volume(folder / "data" / "ct_unlabeled" / f"{name}_0000.nii.gz", phantom(seed)[0])
    annotated = {name: [1] for name in ("real", "other", "held_out")}
    (folder / "data" / "ct" / "annotated.json").write_text(json.dumps(annotated))
    return folder


def phantom(seed: int) -> tuple[Volume, Volume]:
    return paint_phantom(np.random.default_rng(seed), shape=(36, 48, 48), spacing_mm=(8.0, 7.0, 7.0))


def small() -> dict[str, Any]:
    """The configuration that ships, with few cases and steps."""
    config = tomllib.loads(SHIPPED.read_text())
    for name, cohort in config["cohorts"].items():
        plan = cohort["plan"]
        plan["groups"] = [{**plan["groups"][0], "annotated": [1, 14], "cases": 2 if name == "first" else 1}]
        plan["spacing_mm"] = list(SPACING_MM)
    spec = {"spacing_mm": list(SPACING_MM), "patch": [32, 32, 32], "network": {"features": [4, 8, 8, 8, 8]}}
    for name in ("first", "second"):
        steps = 8 if name == "first" else 1
        config[name]["change"] = {"steps": steps, "batch": 1, "spec": spec}
    config["cases"] = {"held_out": ["held_out"], "patients": {"someone": ["held_out", "of_held_out"]}}
    config["machine"] = {"device": "cpu"}
    return config


def written(folder: Path, config: dict[str, Any], run: str = "run") -> Path:
    path = folder / f"{run}.toml"
    path.write_text(tomli_w.dumps({**config, "run": run}))
    return path


def go_on(config: Path, until: str | None = None) -> list[str]:
    """Run what is left in this process; the names of the stages that ran."""
    pipeline = read_pipeline(config).until(until)
    describe_run(pipeline, config.read_text())
    steps = make_plan(pipeline.run, pipeline.stages)
    run_plan(pipeline.run, steps, PipelineCallbacks(), command)
    return [step.stage.name for step in steps if step.action != "done"]


def test_the_file_that_ships_holds_the_numbers_of_the_weights_that_ship(tmp_path: Path) -> None:
    config, spec = read_lite_config(SHIPPED), read_model_file(ROOT / "weights" / "lite").spec
    training = spec.training
    painted = {
        name: [f"{group.name}_{index:03d}" for group in cohort.plan.groups for index in range(group.cases)]
        for name, cohort in config.cohorts.items()
    }
    assert sorted(name for cohort in config.student for name in painted[cohort]) == training["painted"]["cases"]
    assert set(training["pseudo_labeled"]) <= {name for names in config.cases.patients.values() for name in names}
    origin = training["started_from"]["training"]
    assert (origin["cases"], origin["steps"]) == (painted["first"], config.first.change["steps"])
    assert (training["planned_steps"], training["seed"]) == (config.second.change["steps"], 2023)
    shares = config.shipped.shares
    assert list(shares.values()) == [average["share"] for average in training["averaged"]]
    for name, average in zip(shares, training["averaged"], strict=True):
        cohorts = config.experts.get(name, config.student)
        assert {case for cohort in cohorts for case in painted[cohort]} <= set(average["cases"])
    assert config.shipped.tumor_bias == training["tumor_bias"]
    for name in ("tumor_lead", "smallest_part", "tumor_organs"):
        assert getattr(config.shipped, name) == getattr(spec, name)
    assert config.shipped.tumor_organs == config.teacher.tumor_organs == HOSTS
    assert config.shipped.smallest_part == config.teacher.smallest_part
    assert all(cohort.plan.spacing_mm == spec.spacing_mm for cohort in config.cohorts.values())


@pytest.mark.parametrize("kind", [LiteConfig, LiteData, Cases, Cohort, Average])
def test_it_explains_every_field(kind: type) -> None:
    for field in fields(kind):
        assert field.name in SHIPPED.read_text()


def test_its_stages_are_planned_in_order(data: Path, tmp_path: Path) -> None:
    config = written(data, {**tomllib.loads(SHIPPED.read_text()), "cases": {}}, "dry")
    stages = read_pipeline(config).stages
    assert [stage.name for stage in stages] == STAGES
    for index, stage in enumerate(stages):
        assert set(stage.after) <= {before.name for before in stages[:index]}
    told = plan_pipeline(config)
    assert "23 of 23 stages to run" in told
    assert f"--start {data / 'dry' / 'first' / 'weights'}" in told
    assert not (data / "dry").exists(), "a plan starts nothing"
    several = written(data, {**small(), "machine": {"device": "cpu", "gpus": 1}}, "several")
    assert "torchrun" not in plan_pipeline(several)
    assert plan_pipeline(config, until="fit-first").count("flare-train fit") == 1


@pytest.fixture(scope="module")
def made(data: Path) -> Path:
    """The run folder of all stages, one after the other in this process."""
    assert go_on(written(data, small(), "made")) == STAGES
    return data / "made"


@pytest.mark.slow
def test_from_data_to_weights_that_say_what_they_learned_from(data: Path, made: Path) -> None:
    training = read_model_file(made / "weights").spec.training
    painted = ["torso_000", "torso_invented_000", "torso_unenhanced_000"]
    assert training["cases"] == ["other", "real", *painted, "unlabeled"], "held out with all scans of the patient"
    assert [origin["cases"] for origin in training["averaged"]] == [
        ["other", "real", "torso_000"], ["other", "real", *painted], training["cases"]
    ]  # fmt: skip
    counts = {str(code): 3 * (code in {1, 14}) for code in range(1, 15)}
    assert training["painted"] == {"cases": painted, "annotated_cases": counts}
    assert training["pseudo_labeled"] == {"unlabeled": list(range(1, 14))}
    assert training["annotated_cases"] == {**counts, "1": 5}, "pseudo labels are not counted"
    assert training["started_from"]["training"]["cases"] == ["painted_000", "painted_001"]
    assert read_model_file(made / "weights").spec.patch == (32, 32, 32)
    assert read_volume(made / "painted" / "torsos" / "labelsTr" / "torso_000.nii.gz").placement.spacing_mm == SPACING_MM

    config = small()
    assert plan_pipeline(written(data, config, "made")).startswith(" 1 paint-first        done      done\n")
    assert go_on(written(data, config, "made")) == [], "nothing is made anew"
    config["shipped"]["tumor_bias"] = 0.5
    steps = make_plan(made, read_pipeline(written(data, config, "made")).stages)
    assert {step.stage.name: step.reason for step in steps if step.action != "done"} == {
        "average-weights": "average.tumor_bias: 1.0, now 0.5"
    }


@pytest.mark.slow
def test_stopped_in_its_first_training_and_continued_it_makes_the_same_weights(data: Path, made: Path) -> None:
    config, run = written(data, small(), "stopped"), data / "stopped"
    # What is painted and prepared is that of the other run: where a result lies counts for nothing.
    for name in ("painted", "first/store"):
        shutil.copytree(made / name, run / name)
    (run / "stamps").mkdir()
    for name in (*PAINT, FIRST[0]):
        shutil.copy(made / "stamps" / f"{name}.json", run / "stamps")
    stopped = start(config)
    wait_for(stopped, lambda: len(read_journal(run / "first" / "run")) >= 1)
    stopped.send_signal(signal.SIGTERM)
    stopped.communicate()
    assert stopped.returncode == 128 + signal.SIGTERM
    steps = {step.stage.name: step.reason for step in make_plan(run, read_pipeline(config).stages)}
    assert steps["fit-first"] == "was interrupted"
    assert go_on(config, until="export-first") == FIRST[1:]
    weights = [folder / "first" / "weights" / "model.safetensors" for folder in (run, made)]
    assert sha256_of_file(weights[0]) == sha256_of_file(weights[1])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda config: config["data"].pop("maps"), "data.maps: missing"),
        (lambda config: config["data"].update(experts="nowhere"), "annotated.json: cannot be read"),
        (lambda config: config["data"].update(unlabeled="nowhere"), "nowhere"),
        (lambda config: config["data"].update(unlabeled="data/ct"), "labeled in"),
        (lambda config: config["data"].update(maps="nowhere"), "organs8: expected a folder of label maps"),
        (lambda config: config["cases"].update(held_out=["nobody"]), "cases.held_out: no case nobody"),
        (lambda config: config["cases"].update(patients={"someone": ["nobody"]}), "cases.patients: no case nobody"),
        (lambda config: config["cases"].update(transposed_mm={"nobody": 1.0}), "cases.transposed_mm: no case nobody"),
        (lambda config: config["experts"].update(torsos=["torso"]), "cohorts: no torso among first"),
        (lambda config: config["experts"].update(student=["torsos"]), "experts: first and student"),
        (
            lambda config: config["teacher"].update(shares={"student": 1.0}),
            "teacher.shares: trainings are benign, torsos",
        ),
        (lambda config: config["teacher"].update(shares={"benign": 0.5}), "shares are above 0 and their sum is 1"),
        (lambda config: config["first"].update(seeds=[1, 2]), "seeds: one at most"),
        (lambda config: config["cohorts"]["first"]["plan"].update(shapes="all"), "cohorts.first.plan.shapes: expected"),
        (lambda config: config["second"].update(change={"step": 1}), "second.change.step: no such field"),
        (lambda config: config.update(protocol="light"), "protocol: expected one of paper, lite, found 'light'"),
        (lambda config: config["machine"].update(gpus=3), "machine.gpus: 3 processes cannot share the first model's"),
    ],
)
def test_what_is_wrong_is_named_before_anything_starts(
    data: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    config = copy.deepcopy(small())
    change(config)
    with pytest.raises(ProblemsError) as caught:
        read_pipeline(written(data, config, "wrong"))
    assert any(says in line for line in caught.value.problems), caught.value.problems
    assert not (data / "wrong").exists()


@pytest.mark.parametrize("place", ["ct", "ct_unlabeled", "labels"])
def test_a_run_inside_what_it_reads_is_refused(data: Path, place: str) -> None:
    config = data / "inside.toml"
    config.write_text(tomli_w.dumps({**small(), "run": f"data/{place}/new"}))
    with pytest.raises(ProblemsError) as caught:
        read_pipeline(config)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{data / 'data' / place / 'new'}: lies in {data / 'data' / place}, which is read")
    assert not (data / "data" / place / "new").exists()
