import pytest
import torch
from torch import Tensor, nn

from flare_infer.errors import SpecError
from flare_infer.model.ensemble import Ensemble, as_one


class Slope(nn.Module):
    """One class: the input times the place along an axis, so that mirroring changes what it says."""

    def __init__(self, axis: int, factor: float) -> None:
        super().__init__()
        self.axis, self.factor = axis, factor

    def forward(self, batch: Tensor) -> Tensor:
        shape = [1] * 5
        shape[self.axis + 2] = -1
        return batch * torch.arange(batch.shape[self.axis + 2]).reshape(shape) * self.factor


def test_a_mirrored_average_by_hand() -> None:
    # Along x the slope says (0, 1, 2) times the input; of the mirror image, mirrored back, (2, 1, 0) times it.
    batch = torch.tensor([5.0, 7.0, 1.0]).reshape(1, 1, 1, 1, 3)
    network = Ensemble([Slope(2, 1.0)], mirror_axes=(2,))
    assert network.passes == 2
    assert network(batch).flatten().tolist() == [5 * (0 + 2) / 2, 7 * (1 + 1) / 2, 1 * (2 + 0) / 2]


def test_every_combination_of_axes_is_asked_and_turned_back() -> None:
    batch = torch.randn(1, 1, 2, 3, 4)
    network = Slope(0, 1.0)
    total = torch.zeros_like(batch)
    for axes in ([], [2], [3], [4], [2, 3], [2, 4], [3, 4], [2, 3, 4]):
        total += network(batch.flip(axes)).flip(axes)
    torch.testing.assert_close(Ensemble([network], (0, 1, 2))(batch), total / 8)
    torch.testing.assert_close(Ensemble([network], (0, 1, 2))(batch), batch / 2)  # mean of places 0 and 1 along z


def test_folds_are_averaged_and_the_input_is_left_alone() -> None:
    batch = torch.randn(2, 1, 2, 2, 3)
    before = batch.clone()
    logits = Ensemble([nn.Identity(), Slope(1, 4.0)])(batch)
    torch.testing.assert_close(logits, (batch + Slope(1, 4.0)(batch)) / 2)
    torch.testing.assert_close(batch, before)


def test_one_network_without_mirroring_stays_itself() -> None:
    network = nn.Identity()
    assert as_one([network]) is network
    assert isinstance(as_one([network], (0,)), Ensemble)


def test_an_ensemble_of_none_is_refused() -> None:
    with pytest.raises(SpecError, match="at least one"):
        Ensemble([])
