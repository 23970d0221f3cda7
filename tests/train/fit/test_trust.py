"""Failures while training, and the files that are left after them."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from flare_infer.errors import DatasetError, FlareError
from flare_infer.model.network import UNet
from tests.train.tiny_store import make_store
from train.augment.patch import Patch
from train.batches.samples import Samples
from train.fit import state, validate
from train.fit import step as step_module
from train.fit.bad_batch import BAD_BATCH_FILE
from train.fit.checkpoint import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from train.fit.loop import fit
from train.fit.ranks import Ranks
from train.fit.state import State
from train.fit.step import batch_loss, train_step
from train.recipes.recipe import TrainingRecipe, smoke
from train.record.callbacks import TrainingCallbacks
from train.record.csv_table import CsvTable, read_table
from train.record.journal import StepEntry, read_journal
from train.record.score import Standing
from train.store.store import read_store

CPU = torch.device("cpu")
ALONE = Ranks(device=CPU)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    training = {"organs": (1, 2, 3, 13), "tumor": (1, 14)}
    return make_store(tmp_path_factory.mktemp("trust") / "store", smoke().spec, training, {"held_out": (1, 14)})


def weights_of(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def patches_of(recipe: TrainingRecipe, store: Path, step: int = 0) -> list[Patch]:
    samples = Samples(recipe, read_store(store))
    return [samples.draw(step, index).patch for index in range(recipe.batch)]


def stop_after(steps: int) -> TrainingCallbacks:
    asked: list[None] = []

    def stop() -> bool:
        asked.append(None)
        return len(asked) > steps

    return TrainingCallbacks(stop=stop)


def test_a_loss_that_is_no_number_ends_the_run_before_its_step(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = smoke(steps=5)
    fit(recipe, store, tmp_path / "good", CPU, stop_after(2))
    good = load_checkpoint(tmp_path / "good")
    losses: list[float] = []

    def broken_at_two(recipe: TrainingRecipe, model: nn.Module, patches: Sequence[Patch]) -> torch.Tensor:
        loss = batch_loss(recipe, model, patches)
        losses.append(loss.item())
        return loss * float("nan") if len(losses) == 3 else loss

    monkeypatch.setattr(step_module, "batch_loss", broken_at_two)
    run = tmp_path / "run"
    with pytest.raises(FlareError, match="the loss of step 2 is not finite") as caught:
        fit(recipe, store, run, CPU)
    bad = torch.load(run / BAD_BATCH_FILE, weights_only=True)
    drawn = [Samples(recipe, read_store(store)).draw(2, index) for index in range(recipe.batch)]
    assert bad["step"] == 2
    assert bad["cases"] == [sample.case for sample in drawn]
    assert bad["annotated"] == [list(sample.patch.annotated) for sample in drawn]
    for index, sample in enumerate(drawn):
        assert torch.equal(bad["images_nzyx"][index], sample.patch.image_zyx)
        assert torch.equal(bad["labels_nzyx"][index], sample.patch.labels_zyx)
    assert all(part in str(caught.value) for part in (*bad["cases"], str(run / BAD_BATCH_FILE), "learning_rate"))
    kept = load_checkpoint(run)
    assert kept is not None
    assert good is not None
    assert (kept.step, kept.skipped) == (2, 0)
    assert all(torch.equal(kept.network[name], good.network[name]) for name in good.network)
    assert [row["step"] for row in read_journal(run)] == ["0", "1"]


def test_a_network_that_is_no_good_replaces_no_checkpoint(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = smoke(steps=5)
    fit(recipe, store, tmp_path, CPU, stop_after(2))
    before = (tmp_path / CHECKPOINT_FILE).read_bytes()

    def broken(recipe: TrainingRecipe, model: nn.Module, patches: Sequence[Patch]) -> torch.Tensor:
        with torch.no_grad():
            next(model.parameters()).fill_(float("inf"))
        return batch_loss(recipe, model, patches)

    monkeypatch.setattr(step_module, "batch_loss", broken)
    with pytest.raises(FlareError, match="the loss of step 2 is not finite"):
        fit(recipe, store, tmp_path, CPU)
    assert (tmp_path / CHECKPOINT_FILE).read_bytes() == before


def test_the_clip_is_of_the_gradient_without_the_scale_of_the_loss(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = smoke()
    patches = patches_of(recipe, store)
    steps = []
    for half in (None, torch.float16):
        for module in (step_module, state):
            monkeypatch.setattr(module, "autocast_type", lambda device, half=half: half)
        now = State.begin(recipe, CPU)
        assert now.scaler.is_enabled() == (half is torch.float16)
        before = weights_of(now.network)
        learned = train_step(recipe, now, step_module.DeeplySupervised(now.network), patches, ALONE)
        steps.append((learned.gradient_norm, weights_of(now.network) - before))
    (norm, change), (half_norm, half_change) = steps
    # Float16 has 11 bits; a gradient still multiplied by 65536 would be off by as much.
    assert half_norm == pytest.approx(norm, rel=0.02)
    assert (half_change - change).norm() < 0.02 * change.norm()


def test_the_scale_of_the_loss_survives_a_resume(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (step_module, state, validate):
        monkeypatch.setattr(module, "autocast_type", lambda device: torch.float16)
    plain = batch_loss

    def too_large_at_one(recipe: TrainingRecipe, model: nn.Module, patches: Sequence[Patch]) -> torch.Tensor:
        loss = plain(recipe, model, patches)
        if torch.equal(patches[0].image_zyx, second.image_zyx):
            weights = next(model.parameters())
            loss = loss + (weights - weights.detach()).sqrt().sum()
        return loss

    recipe = smoke(steps=4)
    second = patches_of(recipe, store, step=1)[0]
    monkeypatch.setattr(step_module, "batch_loss", too_large_at_one)
    whole = weights_of(fit(recipe, store, tmp_path / "whole", CPU))
    fit(recipe, store, tmp_path / "parts", CPU, stop_after(2))
    halfway = load_checkpoint(tmp_path / "parts")
    assert halfway is not None
    assert halfway.scaler["scale"] == 2.0**15
    assert halfway.skipped == 1
    assert torch.equal(weights_of(fit(recipe, store, tmp_path / "parts", CPU)), whole)
    ends = [load_checkpoint(tmp_path / name) for name in ("whole", "parts")]
    assert [end.scaler for end in ends if end is not None] == [halfway.scaler | {"_growth_tracker": 2}] * 2
    # A machine that needs no scale goes on all the same.
    for module in (step_module, state, validate):
        monkeypatch.setattr(module, "autocast_type", lambda device: None)
    save_checkpoint(tmp_path / "parts", halfway)
    assert weights_of(fit(recipe, store, tmp_path / "parts", CPU)).isfinite().all()


def test_a_checkpoint_of_before_validation_goes_on(store: Path, tmp_path: Path) -> None:
    recipe = smoke(steps=4)
    whole = weights_of(fit(recipe, store, tmp_path / "whole", CPU))
    run = tmp_path / "run"
    fit(recipe, store, run, CPU, stop_after(2))
    content = torch.load(run / CHECKPOINT_FILE, weights_only=True)
    fields = json.loads(content["recipe"])
    del content["scaler"], content["standing"], fields["validation"]
    torch.save(content | {"recipe": json.dumps(fields)}, run / CHECKPOINT_FILE)
    assert torch.equal(weights_of(fit(recipe, store, run, CPU)), whole)
    finished = load_checkpoint(run)
    assert finished is not None
    assert Standing(**finished.standing).step == 4


def test_how_often_to_validate_may_change(store: Path, tmp_path: Path) -> None:
    recipe = smoke(steps=3)
    fit(recipe, store, tmp_path, CPU, stop_after(1))
    fit(replace(recipe, validation=replace(recipe.validation, every_steps=2)), store, tmp_path, CPU, stop_after(1))
    with pytest.raises(DatasetError, match="another recipe"):
        fit(replace(recipe, seed=1), store, tmp_path, CPU)


@pytest.mark.parametrize("way", ["merge_max", "marginal", "background"])
def test_every_parameter_has_a_gradient_whatever_is_annotated(store: Path, way: str) -> None:
    # Distributed training waits for all of them.
    recipe = replace(smoke(), partial_loss=way)
    (first, _) = patches_of(recipe, store)
    network = UNet(recipe.spec.network, recipe.spec.classes)
    for annotated in ((), (1,), tuple(range(1, 15))):
        unseen = replace(first, annotated=annotated, labels_zyx=torch.full_like(first.labels_zyx, 254))
        network.zero_grad()
        batch_loss(
            recipe, step_module.DeeplySupervised(network), [replace(first, annotated=annotated), unseen]
        ).backward()
        assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_table_forgets_a_row_that_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("step,loss\n0,1.5\n1,1.25\n1")
    CsvTable(path, ("step", "loss"), lambda row: int(row["step"]) < 5).write((2, 0.5))
    assert read_table(path) == [
        {"step": "0", "loss": "1.5"},
        {"step": "1", "loss": "1.25"},
        {"step": "2", "loss": "0.5"},
    ]


def test_curves_have_every_step_once(store: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = replace(smoke(steps=6), validation=replace(smoke().validation, every_steps=2))

    def die_at_four(entry: StepEntry) -> None:
        if entry.step == 4:
            raise KeyboardInterrupt

    fit(recipe, store, tmp_path, CPU, stop_after(3))
    kept = (tmp_path / CHECKPOINT_FILE).read_bytes()
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, store, tmp_path, CPU, TrainingCallbacks(step=die_at_four))
    (tmp_path / CHECKPOINT_FILE).write_bytes(kept)
    fit(recipe, store, tmp_path, CPU)
    training, validation = (
        EventAccumulator(str(tmp_path / "tensorboard" / name)) for name in ("training", "validation")
    )
    for events in (training, validation):
        events.Reload()
    for name in ("loss", "learning rate", "gradient norm", "samples per second", "pasted tumors"):
        assert [event.step for event in training.Scalars(name)] == [1, 2, 3, 4, 5, 6]
    losses = [event.value for event in training.Scalars("loss")]
    assert losses == pytest.approx([float(row["loss"]) for row in read_journal(tmp_path)])
    for name in ("score", "exponential mean", "dice/liver"):
        assert [event.step for event in validation.Scalars(name)] == [2, 4, 6]
    assert [event.step for event in validation.Images("held_out")] == [2, 4, 6]


def test_without_tensorboard_and_pillow_training_goes_on(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.fit.logbook.find_spec", lambda name: None)
    for name in ("PIL", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    notices: list[str] = []
    recipe = smoke(steps=2)
    fit(recipe, store, tmp_path, CPU, TrainingCallbacks(notice=notices.append))
    assert len(notices) == 2
    assert all("is not installed: pip install" in notice for notice in notices)
    assert not (tmp_path / "tensorboard").exists()
    assert not (tmp_path / "pictures").exists()
    assert len(read_journal(tmp_path)) == 2
