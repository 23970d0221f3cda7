"""Validation while training: what it judges, which network is the best, and that it changes nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flare_infer.backends.device import autocast_type
from flare_infer.errors import SpecError
from flare_infer.model.network import UNet
from tests.train.tiny_store import make_store
from train.export.export import export
from train.fit.checkpoint import BEST_FILE, load_checkpoint, load_network_of
from train.fit.loop import fit
from train.fit.ranks import Ranks
from train.fit.state import State
from train.fit.validate import dice_of_case, segment, validate
from train.recipes.recipe import TrainingRecipe, smoke
from train.recipes.validation import Validation
from train.record.callbacks import TrainingCallbacks
from train.record.csv_table import read_table
from train.record.journal import VALIDATION_FILE, ValidationEntry
from train.record.pictures import PictureFolder, draw_overlay
from train.record.score import Standing, mean_score
from train.store.store import PreparedCase, read_store

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    training = {"organs": (1, 2, 3, 13), "tumor": (1, 14)}
    validation = {"held_out": (1, 2, 14), "kept_back": (1, 3)}
    return make_store(tmp_path_factory.mktemp("validate") / "store", smoke().spec, training, validation)


def recipe_of(steps: int, **validation: int) -> TrainingRecipe:
    return replace(smoke(steps=steps), validation=Validation(**validation))


def parameters_of(network: UNet) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


class StopAfter:
    """Asked before each step and each validation case."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_a_run_is_the_same_with_and_without_validation(store: Path, tmp_path: Path) -> None:
    without = parameters_of(fit(recipe_of(5, every_steps=0), store, tmp_path / "without", CPU))
    withal = parameters_of(fit(recipe_of(5, every_steps=2), store, tmp_path / "with", CPU))
    assert torch.equal(withal, without)
    assert not read_table(tmp_path / "without" / VALIDATION_FILE)
    assert [row["step"] for row in read_table(tmp_path / "with" / VALIDATION_FILE)] == ["2", "4", "5"]


def test_standing_table_and_best_survive_interruptions_bit_by_bit(store: Path, tmp_path: Path) -> None:
    recipe = recipe_of(5, every_steps=2)
    whole = parameters_of(fit(recipe, store, tmp_path / "whole", CPU))
    for questions in (2, 3, 4, 1, 100):
        # The second of these ends between the two cases of a validation.
        last = fit(recipe, store, tmp_path / "parts", CPU, TrainingCallbacks(stop=StopAfter(questions)))
    assert torch.equal(parameters_of(last), whole)
    rows, expected = (
        [
            {name: text for name, text in row.items() if name != "seconds"}
            for row in read_table(tmp_path / name / VALIDATION_FILE)
        ]
        for name in ("parts", "whole")
    )
    assert rows == expected
    assert len(rows) == 3
    for name in ("checkpoint.pt", BEST_FILE):
        mine, theirs = load_checkpoint(tmp_path / "parts", name), load_checkpoint(tmp_path / "whole", name)
        assert mine is not None
        assert theirs is not None
        assert mine.standing == theirs.standing
        assert (mine.step, mine.standing["best"]) == (theirs.step, theirs.standing["best"])
        assert all(torch.equal(mine.network[key], theirs.network[key]) for key in theirs.network)


def test_a_validation_that_the_checkpoint_does_not_know_is_made_again_once(store: Path, tmp_path: Path) -> None:
    recipe = recipe_of(4, every_steps=2)

    def die(validated: ValidationEntry) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(recipe, store, tmp_path, CPU, TrainingCallbacks(validated=die))
    lost = load_checkpoint(tmp_path)
    assert lost is not None
    (tmp_path / "checkpoint.pt").unlink()
    fit(recipe, store, tmp_path, CPU)
    assert [row["step"] for row in read_table(tmp_path / VALIDATION_FILE)] == ["2", "4"]


def test_the_best_network_is_kept_and_exported(store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    seen: list[ValidationEntry] = []
    fit(recipe_of(6, every_steps=1), store, run, CPU, TrainingCallbacks(validated=seen.append))
    best = load_checkpoint(run, BEST_FILE)
    assert best is not None
    assert best.standing["best"] == max(validated.mean for validated in seen if validated.mean is not None)
    assert best.step == best.standing["best_step"] == [validated.step for validated in seen if validated.best][-1]
    assert best.optimizer == {}
    for choice, steps in (("best", best.step), ("last", 6), (None, best.step)):
        made = export(run, store, tmp_path / "weights", which=choice, replacing=True)
        assert made.spec.training["steps"] == steps


def test_a_store_without_validation_cases_is_never_validated(tmp_path: Path) -> None:
    make_store(tmp_path / "store", smoke().spec, {"organs": (1, 2)}, {})
    fit(recipe_of(2, every_steps=1), tmp_path / "store", tmp_path / "run", CPU)
    assert not read_table(tmp_path / "run" / VALIDATION_FILE)
    assert not (tmp_path / "run" / BEST_FILE).exists()
    with pytest.raises(SpecError, match="mean_keeps in"):
        Validation(mean_keeps=1.0)


def test_what_a_case_can_judge() -> None:
    spec = replace(smoke().spec, untrained=(5,))
    truth = np.array([[[1, 1, 0, 3, 0, 5]]], dtype=np.uint8)
    predicted = np.array([[[1, 0, 0, 0, 2, 4]]], dtype=np.uint8)
    # liver: 2 * 1 / 3. right kidney: claimed, but not there: 0. spleen: missed: 0. pancreas: not annotated.
    # aorta: untrained. left kidney: neither there nor claimed.
    assert dice_of_case(predicted, truth, (1, 2, 3, 5, 13), spec) == {1: pytest.approx(2 / 3), 2: 0.0, 3: 0.0}


def test_the_score_by_hand() -> None:
    score = mean_score([{1: 0.9, 2: 0.5, 14: 0.2}, {1: 0.7, 14: 0.4}])
    assert score.dice == pytest.approx({1: 0.8, 2: 0.5, 14: 0.3})
    assert (score.organs, score.tumor, score.score) == pytest.approx((0.65, 0.3, 0.475))
    assert mean_score([{1: 0.5}]).score == 0.5
    assert mean_score([{14: 0.25}]).score == 0.25
    assert mean_score([{}]).score is None


def test_the_exponential_mean_by_hand() -> None:
    standing = Standing()
    history = []
    for step, score in enumerate((0.5, 0.7, None, 0.1), start=1):
        standing = standing.after(step, score, keeps=0.9)
        history.append((standing.mean, standing.best_step, standing.is_best))
    assert history == [
        (0.5, 1, True),
        (pytest.approx(0.52), 2, True),
        (pytest.approx(0.52), 2, False),
        (pytest.approx(0.478), 2, False),
    ]


def test_a_case_of_one_window_is_labeled_by_the_winning_class_that_was_trained() -> None:
    torch.manual_seed(0)
    spec = replace(smoke().spec, untrained=(2, 9))
    network = UNet(spec.network, spec.classes)
    image_zyx = torch.randn(spec.patch).numpy().astype(np.float16)
    case = PreparedCase(
        name="one", annotated=(1,), image_zyx=image_zyx, labels_zyx=np.zeros(spec.patch, np.uint8), locations={}
    )
    labels_zyx = segment(network, replace(spec, skipping=replace(spec.skipping, foreground_voxels=0)), case)
    half = autocast_type(CPU)
    with torch.autocast("cpu", dtype=half, enabled=half is not None), torch.no_grad():
        logits_czyx = network(torch.from_numpy(image_zyx.astype(np.float32))[None, None])[0].float()
    logits_czyx[[2, 9]] = -torch.inf
    agree = (labels_zyx == logits_czyx.argmax(dim=0).numpy()).mean()
    assert agree == 1
    assert len(np.unique(labels_zyx)) > 3


def test_the_network_trains_on_after_a_validation(store: Path) -> None:
    network = UNet(smoke().spec.network, smoke().spec.classes).train()
    held_out = read_store(store, "validation")
    results = validate(network, smoke().spec, held_out, Ranks(device=CPU), pictured=1)
    assert results is not None
    assert [result.case for result in results] == ["held_out", "kept_back"]
    assert [result.picture is not None for result in results] == [True, False]
    assert set(results[0].dice) <= {1, 2, 14}
    assert network.training
    assert validate(network, smoke().spec, held_out, Ranks(device=CPU), stop=lambda: True) is None
    assert network.training


def test_pictures_of_a_case_are_the_last_and_the_best(store: Path, tmp_path: Path) -> None:
    pictures = PictureFolder(tmp_path)
    pixels = np.zeros((4, 5, 3), dtype=np.uint8)
    for step, best in ((1, 1), (2, 2), (3, 2), (4, 2)):
        pictures.keep(step, best, {"a": pixels, "b_a": pixels})
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert names == {"000002_a.png", "000004_a.png", "000002_b_a.png", "000004_b_a.png"}


def test_a_picture_shows_truth_and_prediction_upright(store: Path) -> None:
    spec = smoke().spec
    (case, _) = read_store(store, "validation")
    truth_zyx = np.zeros(case.shape, dtype=np.uint8)
    truth_zyx[5, 2:8, 3:9] = 14
    predicted_zyx = np.zeros(case.shape, dtype=np.uint8)
    predicted_zyx[5, 12:18, 15:21] = 1
    picture = draw_overlay(case, truth_zyx, predicted_zyx, spec)
    scale = picture.shape[0] // case.shape[1]
    width = case.shape[2] * scale
    panels = [
        picture[:, start : start + width] for start in (0, (picture.shape[1] - width) // 2, picture.shape[1] - width)
    ]
    for panel, labels_yx in zip(panels, (0 * truth_zyx[5], truth_zyx[5], predicted_zyx[5]), strict=True):
        # Gray where nothing is drawn: rows go down and columns to the right as in the array.
        tinted = (panel.max(axis=-1) != panel.min(axis=-1))[::scale, ::scale]
        rows, columns = np.nonzero(labels_yx)
        if len(rows) == 0:
            assert not tinted.any()
            continue
        assert tinted[rows.min(), columns].all()
        assert not tinted[labels_yx == 0].any()


def test_when_a_validation_is_due() -> None:
    often = Validation(every_steps=3)
    assert [step for step in range(9) if often.due(step, 8)] == [3, 6, 8], "after the last step, too"
    assert not any(Validation(every_steps=0).due(step, 8) for step in range(9))


def test_an_equal_mean_is_no_better() -> None:
    first = Standing().after(10, 0.5, keeps=0.0)
    again = first.after(20, 0.5, keeps=0.0)
    assert (again.step, again.best, again.best_step, again.is_best) == (20, 0.5, 10, False)
    assert again.after(30, 0.6, keeps=0.0).is_best


def test_a_network_is_validated_once() -> None:
    recipe = recipe_of(9, every_steps=3)
    state = State.begin(recipe, CPU)
    for step, validated, due in ((3, 0, True), (3, 3, False), (4, 3, False), (6, 3, True), (9, 6, True), (9, 9, False)):
        state.step, state.standing = step, Standing(step=validated)
        assert state.validation_due(recipe) == due, (step, validated)


def test_the_best_network_is_taken_before_the_last_unless_one_is_named(tmp_path: Path) -> None:
    recipe = recipe_of(9)
    state = State.begin(recipe, CPU)
    state.step = 3
    state.save(tmp_path, recipe)
    assert load_network_of(tmp_path).step == 3, "a run without validations has only the last"
    state.save_best(tmp_path, recipe)
    state.step = 5
    state.save(tmp_path, recipe)
    assert [load_network_of(tmp_path, which).step for which in (None, "best", "last")] == [3, 3, 5]
