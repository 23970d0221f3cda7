"""The loop, its schedule and what it keeps."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from flare_infer.errors import DatasetError, SpecError
from flare_infer.model.network import UNet
from tests.dataset import make_dataset
from train.augment.patch import Patch
from train.batches.samples import Samples
from train.dataset.cases import read_cases
from train.fit import loop
from train.fit import step as step_module
from train.fit.checkpoint import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from train.fit.loop import fit
from train.fit.ranks import Ranks
from train.fit.state import State
from train.loss.partial import PartialLoss
from train.recipes.recipe import TrainingRecipe, coarse, lite, smoke
from train.recipes.schedule import Optimization, make_optimizer, poly_learning_rate
from train.record.callbacks import TrainingCallbacks
from train.record.journal import StepEntry, StepJournal, read_journal
from train.sampling.sampler import Sampling
from train.store.extract_tumors import Margins, extract_objects
from train.store.prepare import prepare_cases
from train.store.store import read_store

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    dataset = make_dataset(folder, {"organs": (1, 2, 3, 13), "tumor": (1, 14)})
    prepare_cases(read_cases(dataset), smoke().spec, folder / "store")
    return folder / "store"


def parameters_of(network: UNet) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def stop_after(steps: int) -> "Stop":
    return Stop(steps)


class Stop:
    def __init__(self, steps: int) -> None:
        self.asked = 0
        self.steps = steps

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked > self.steps


def test_an_interrupted_run_ends_like_an_uninterrupted_one(store: Path, tmp_path: Path) -> None:
    recipe = smoke(steps=6)
    whole = parameters_of(fit(recipe, store, tmp_path / "whole", CPU))
    for steps in (2, 1, 100):
        last = fit(recipe, store, tmp_path / "parts", CPU, TrainingCallbacks(stop=stop_after(steps)))
    assert torch.equal(parameters_of(last), whole)
    rows = [[row["step"], row["loss"]] for row in read_journal(tmp_path / "parts")]
    assert rows == [[row["step"], row["loss"]] for row in read_journal(tmp_path / "whole")]
    assert len(rows) == 6


def test_a_run_ends_alike_with_any_number_of_workers(store: Path, tmp_path: Path) -> None:
    recipe = smoke(steps=5)
    whole = parameters_of(fit(recipe, store, tmp_path / "whole", CPU))
    fit(recipe, store, tmp_path / "parts", CPU, TrainingCallbacks(stop=stop_after(2)), workers=1)
    assert torch.equal(parameters_of(fit(recipe, store, tmp_path / "parts", CPU)), whole)
    assert len(read_journal(tmp_path / "parts")) == 5


@pytest.fixture(scope="module")
def objects(store: Path) -> Path:
    cases = read_cases(store.parent / "dataset")
    extract_objects(cases, smoke().spec, Margins(), store.parent / "objects")
    return store.parent / "objects"


def with_cutmix(steps: int) -> TrainingRecipe:
    return replace(smoke(steps=steps), cutmix=True, sampling=Sampling(type_sampling="proportional"))


def test_an_interrupted_run_with_cutmix_ends_like_an_uninterrupted_one(
    store: Path, objects: Path, tmp_path: Path
) -> None:
    recipe = with_cutmix(steps=6)
    whole = parameters_of(fit(recipe, store, tmp_path / "whole", CPU, objects=objects))
    for steps in (2, 1, 100):
        last = fit(recipe, store, tmp_path / "parts", CPU, TrainingCallbacks(stop=stop_after(steps)), objects=objects)
    assert torch.equal(parameters_of(last), whole)
    names = ("step", "loss", "pasted", "lost")
    rows = [[row[name] for name in names] for row in read_journal(tmp_path / "parts")]
    assert rows == [[row[name] for name in names] for row in read_journal(tmp_path / "whole")]
    assert sum(int(pasted) for _, _, pasted, _ in rows) > 0
    without = fit(replace(recipe, cutmix=False), store, tmp_path / "without", CPU)
    assert not torch.equal(parameters_of(without), whole), "the pastes were learned from"


def test_a_recipe_with_cutmix_and_its_objects_belong_together(store: Path, objects: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="name their folder"):
        fit(with_cutmix(steps=1), store, tmp_path / "run", CPU)
    with pytest.raises(DatasetError, match="pastes no tumor objects"):
        fit(smoke(steps=1), store, tmp_path / "run", CPU, objects=objects)
    recipe = with_cutmix(steps=1)
    brighter = replace(recipe.spec.normalization, mean_hu=0.0)
    with pytest.raises(DatasetError, match="have another normalization than"):
        fit(replace(recipe, spec=replace(recipe.spec, normalization=brighter)), store, tmp_path, CPU, objects=objects)


def test_a_run_begun_before_a_field_of_the_recipe_existed_goes_on(store: Path, tmp_path: Path) -> None:
    recipe = smoke(steps=3)
    fit(recipe, store, tmp_path, CPU, TrainingCallbacks(stop=stop_after(1)))
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint is not None
    fields = json.loads(checkpoint.recipe)
    del fields["cutmix"], fields["partial_loss"], fields["sampling"]["type_sampling"]
    save_checkpoint(tmp_path, replace(checkpoint, recipe=json.dumps(fields)))
    assert parameters_of(fit(recipe, store, tmp_path, CPU)).isfinite().all()
    assert len(read_journal(tmp_path)) == 3


@pytest.mark.parametrize("way", ["marginal", "background"])
def test_the_baselines_are_trained_with(store: Path, tmp_path: Path, way: PartialLoss) -> None:
    paper = parameters_of(fit(smoke(steps=2), store, tmp_path / "paper", CPU))
    baseline = parameters_of(fit(replace(smoke(steps=2), partial_loss=way), store, tmp_path / way, CPU))
    assert baseline.isfinite().all()
    assert not torch.equal(baseline, paper)


def test_a_run_killed_after_its_checkpoint_repeats_the_lost_steps(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "STEPS_PER_CHECKPOINT", 2)
    recipe = smoke(steps=5)
    whole = parameters_of(fit(recipe, store, tmp_path / "whole", CPU))

    def die_at_three(entry: StepEntry) -> None:
        if entry.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(recipe, store, tmp_path / "killed", CPU, TrainingCallbacks(step=die_at_three))
    again = fit(recipe, store, tmp_path / "killed", CPU)
    assert torch.equal(parameters_of(again), whole)
    assert [row["step"] for row in read_journal(tmp_path / "killed")] == ["0", "1", "2", "3", "4"]


def test_a_finished_run_stays_finished(store: Path, tmp_path: Path) -> None:
    recipe = smoke(steps=2)
    first = parameters_of(fit(recipe, store, tmp_path, CPU))
    steps: list[StepEntry] = []
    assert torch.equal(parameters_of(fit(recipe, store, tmp_path, CPU, TrainingCallbacks(step=steps.append))), first)
    assert not steps


def test_another_recipe_is_refused(store: Path, tmp_path: Path) -> None:
    fit(smoke(steps=1), store, tmp_path, CPU)
    with pytest.raises(DatasetError, match="another recipe"):
        fit(smoke(steps=2), store, tmp_path, CPU)


def test_a_damaged_checkpoint_is_named(store: Path, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="not a readable checkpoint"):
        fit(smoke(), store, tmp_path, CPU)


def test_training_lowers_the_loss(store: Path, tmp_path: Path) -> None:
    recipe = replace(smoke(steps=150), optimization=Optimization(method="adamw", learning_rate=2e-2))
    losses: list[float] = []
    fit(recipe, store, tmp_path, CPU, TrainingCallbacks(step=lambda entry: losses.append(entry.loss)))
    assert sum(losses[-10:]) < 0.75 * sum(losses[:10])


def test_a_gradient_that_is_not_finite_changes_nothing_and_is_counted(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = step_module.batch_loss
    calls = []

    def broken_once(recipe: TrainingRecipe, model: nn.Module, patches: Sequence[Patch]) -> torch.Tensor:
        weights = torch.cat([parameter.flatten() for parameter in model.parameters()])
        calls.append(weights.detach().clone())
        loss = plain(recipe, model, patches)
        # Zero, with an infinite gradient.
        return loss + (weights - weights.detach()).sqrt().sum() if len(calls) == 2 else loss

    monkeypatch.setattr(step_module, "batch_loss", broken_once)
    network = fit(smoke(steps=3), store, tmp_path, CPU)
    assert torch.equal(calls[1], calls[2])
    assert torch.isfinite(parameters_of(network)).all()
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.skipped == 1
    assert [row["skipped"] for row in read_journal(tmp_path)] == ["False", "True", "False"]


def test_poly_by_hand() -> None:
    schedule = Optimization(learning_rate=0.01, power=0.9)
    rates = [poly_learning_rate(schedule, step, 10) for step in range(10)]
    # one hundredth times (1 - step over 10) to the power 0.9
    by_hand = [0.01, 0.009095, 0.008181, 0.007254, 0.006314, 0.005359, 0.004384, 0.003384, 0.002349, 0.001259]
    assert rates == pytest.approx(by_hand, abs=1e-6)


def test_warmup_rises_to_the_schedule() -> None:
    schedule = Optimization(learning_rate=1.0, power=1.0, warmup=3)
    rates = [poly_learning_rate(schedule, step, 100) for step in range(5)]
    assert rates == pytest.approx([0.25, 0.5 * 0.99, 0.75 * 0.98, 0.97, 0.96])


def test_the_papers_optimizer_is_nesterov_sgd() -> None:
    optimizer = make_optimizer(nn.Linear(1, 1).parameters(), coarse().optimization)
    assert isinstance(optimizer, torch.optim.SGD)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (0.01, 0.99, True, 3e-5)
    with pytest.raises(SpecError, match="positive learning_rate"):
        Optimization(learning_rate=0)


def test_the_recipes_hold_the_papers_numbers() -> None:
    paper = coarse()
    assert (paper.spec.patch, paper.batch, paper.steps) == ((32, 192, 192), 4, 300_000)
    assert paper.spec.spacing_mm == (2.5, 1.5, 1.5)
    assert paper.sampling.foreground == lite().sampling.foreground == 0.7
    with pytest.raises(SpecError, match="at least one step"):
        TrainingRecipe(spec=paper.spec, batch=0, steps=1)


def test_a_journal_forgets_steps_that_were_lost(tmp_path: Path) -> None:
    entry = StepEntry(step=0, loss=1.0, learning_rate=0.1, gradient_norm=1.0, seconds=0.1, skipped=False)
    journal = StepJournal(tmp_path, steps_done=0)
    for step in range(4):
        journal.write(replace(entry, step=step))
    StepJournal(tmp_path, steps_done=2).write(replace(entry, step=2, loss=7.0))
    assert [(row["step"], row["loss"]) for row in read_journal(tmp_path)] == [("0", "1.0"), ("1", "1.0"), ("2", "7.0")]


def test_the_learning_rate_of_every_step_is_the_schedules(store: Path, tmp_path: Path) -> None:
    fit(smoke(steps=4), store, tmp_path, CPU)
    # One thousandth times (1, 3/4, 1/2, 1/4) to the power 0.9, as the optimizer had it.
    by_hand = [1e-3, 0.77189e-3, 0.53589e-3, 0.28717e-3]
    assert [float(row["learning_rate"]) for row in read_journal(tmp_path)] == pytest.approx(by_hand, rel=1e-4)


def one_step(store: Path, optimization: Optimization, left_over: float | None = None) -> tuple[float, torch.Tensor]:
    """The norm of the gradient before clipping, and by how much a first step changes the network."""
    recipe = replace(smoke(), optimization=optimization)
    samples = Samples(recipe, read_store(store))
    state = State.begin(recipe, CPU)
    before = parameters_of(state.network)
    for parameter in state.network.parameters():
        parameter.grad = None if left_over is None else torch.full_like(parameter, left_over)
    patches = [samples.draw(0, index).patch for index in range(recipe.batch)]
    learned = step_module.train_step(
        recipe, state, step_module.DeeplySupervised(state.network), patches, Ranks(device=CPU)
    )
    return learned.gradient_norm, parameters_of(state.network) - before


def test_a_step_is_as_long_as_the_clip_and_the_rate_allow(store: Path) -> None:
    optimization = Optimization(learning_rate=0.5, momentum=0.5, weight_decay=0.0, gradient_clip=0.01)
    norm, change = one_step(store, optimization)
    assert norm > 0.01, "before clipping"
    # The first step of Nesterov's momentum m is 1 + m times the gradient, whose norm is 0.01 now.
    assert float(change.norm()) == pytest.approx(0.5 * 1.5 * 0.01, rel=1e-3)
    wide = replace(optimization, gradient_clip=1e6)
    assert float(one_step(store, wide)[1].norm()) == pytest.approx(0.5 * 1.5 * norm, rel=1e-3)


def test_a_step_knows_only_its_own_gradient(store: Path) -> None:
    norm, change = one_step(store, Optimization())
    norm_after_others, change_after_others = one_step(store, Optimization(), left_over=5.0)
    assert norm_after_others == norm
    assert torch.equal(change_after_others, change)
