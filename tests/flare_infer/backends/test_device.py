from collections.abc import Callable

import pytest
import torch

from flare_infer.backends import device
from flare_infer.backends.device import choose_compute
from flare_infer.errors import UsageError
from train.recipes import recipe as recipes
from train.recipes.recipe import TrainingRecipe


@pytest.mark.parametrize("hardware", [True, False])
def test_auto_on_a_cpu_takes_bfloat16_only_where_the_hardware_computes_with_it(
    monkeypatch: pytest.MonkeyPatch, hardware: bool
) -> None:
    monkeypatch.setattr(device, "computes_bfloat16", lambda: hardware)
    compute = choose_compute("cpu")
    assert (compute.precision, compute.backend) == ("bf16" if hardware else "fp32", "torch")
    assert compute.dtype == (torch.bfloat16 if hardware else torch.float32)


def test_auto_on_cuda_is_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    compute = choose_compute()
    assert (compute.device.type, compute.precision, compute.backend) == ("cuda", "fp16", "torch")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_named_is_taken(precision: str) -> None:
    assert choose_compute("cpu", precision, "torch").precision == precision


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("abacus",), "device 'abacus' is unknown"),
        (("cpu", "fp8"), "precision 'fp8' is unknown; use auto, fp32, bf16, fp16"),
        (("cpu", "auto", "tensorflow"), "backend 'tensorflow' is unknown; use auto, torch, openvino"),
        (("cpu", "fp16"), "precision 'fp16' is for CUDA"),
    ],
)
def test_what_cannot_be_is_refused(names: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        choose_compute(*names)
    assert says in str(refused.value)


def test_openvino_is_refused_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UsageError, match="runs on the CPU"):
        choose_compute("auto", "auto", "openvino")


def test_openvino_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"flare-infer\[cpu\]"):
        choose_compute("cpu", "fp32", "openvino")


@pytest.mark.parametrize(
    ("installed", "recipe", "backend"),
    [(True, recipes.coarse, "openvino"), (True, recipes.lite, "torch"), (False, recipes.coarse, "torch")],
)
def test_auto_takes_openvino_where_it_is_installed_and_pays(
    monkeypatch: pytest.MonkeyPatch, installed: bool, recipe: Callable[[], TrainingRecipe], backend: str
) -> None:
    monkeypatch.setattr(device, "find_spec", lambda name: object() if installed else None)
    work = recipe().spec.window_work
    assert choose_compute("cpu", window_work=work).backend == backend
    assert choose_compute("cpu", backend="torch", window_work=work).backend == "torch"


def test_openvino_is_never_chosen_for_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_compute(window_work=recipes.coarse().spec.window_work).backend == "torch"


def test_the_work_of_a_window_by_hand() -> None:
    # 32 x 192 x 192 voxels, kernels of 27, 32 features in and out
    assert recipes.coarse().spec.window_work == 32 * 192 * 192 * 27 * 32 * 32
