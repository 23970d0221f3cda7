"""Ctrl-C is answered at once, and the run ends as soon as its work is saved."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from flare_infer.shell.interrupt import WORD, Interrupted, asked_to_stop
from tests.train.tiny_store import make_store
from train.fit import validate as validating
from train.fit.ranks import Ranks, device_in_words
from train.fit.state import State
from train.fit.validate import validate
from train.recipes.recipe import smoke
from train.store.store import read_store

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before, "handlers are given back"


def ask(number: int) -> None:
    os.kill(os.getpid(), number)


def test_a_word_is_said_at_once_and_once(capfd: pytest.CaptureFixture[str]) -> None:
    with asked_to_stop() as stop:
        assert not stop()
        ask(signal.SIGTERM)
        assert capfd.readouterr().err == f"\n{WORD}; Ctrl-C again ends at once, without\n"
        assert stop()
        ask(signal.SIGTERM)
        assert capfd.readouterr().err == ""


def test_a_second_ctrl_c_ends_at_once() -> None:
    with asked_to_stop() as stop:
        stop()
        ask(signal.SIGINT)
        with pytest.raises(Interrupted) as caught:
            ask(signal.SIGINT)
        assert caught.value.exit_code == 130


def test_before_the_first_step_there_is_nothing_to_save() -> None:
    with asked_to_stop(), pytest.raises(Interrupted):
        ask(signal.SIGINT)


def test_one_of_several_ends_with_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    with asked_to_stop(alone=False, says=False) as stop:
        ask(signal.SIGINT)
        ask(signal.SIGINT)
        assert stop()
    assert capfd.readouterr().err == ""


def test_a_validation_stops_within_a_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = smoke()
    store = make_store(tmp_path / "store", recipe.spec, {"a": (1, 2)}, {"b": (1,), "c": (1,)})
    cases, network = read_store(store, "validation"), State.begin(recipe, CPU).network
    windows = []

    def stop() -> bool:
        windows.append(network.training)
        return len(windows) > 2

    assert validate(network, recipe.spec, cases, Ranks(device=CPU), stop) is None
    assert len(windows) == 3, "asked before the case and before each window, and no more after that"
    assert network.training, "and the network trains on"
    last = [False]

    def at_the_last_window() -> bool:
        return last[0]

    whole = validating.segment

    def segment(*arguments: object) -> np.ndarray:
        last[0] = arguments[2] is cases[-1]
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(validating, "segment", segment)
    assert validate(network, recipe.spec, cases, Ranks(device=CPU), at_the_last_window) is None, "half judged is not"


def test_a_device_is_told_in_words() -> None:
    said = device_in_words(CPU)
    assert said.startswith(f"the CPU, {torch.get_num_threads()} threads, ")
    assert said.rpartition(", ")[2] in {"float32", "bfloat16"}
    assert device_in_words(CPU, 2).endswith(", 2 processes")
