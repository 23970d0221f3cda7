"""Properties of model.json: any content is a model that can be built, or is refused with one line."""

import copy
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from flare_infer.errors import SpecError
from flare_infer.model.model_file import SPEC_FILE, read_model_file, write_spec
from flare_infer.model.network import UNet
from flare_infer.model.spec import ModelSpec
from tests.tiny import tiny_spec

MOST_PARAMETERS = 10**7
"""Networks beyond are not built here, even without memory for their numbers: their making takes long."""

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 9),
    st.sampled_from([10**6, 2**31, 2**63, 10**400, -(10**9)]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(["", "LPS", "plain", "residual", "1", "\x1b[31m", "a" * 300, "\ud800"]),
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def _places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, below in inner for place in _places(below, (*path, key)))]


GOOD: dict[str, Any] = {"format": 1, **json.loads(json.dumps(dataclasses.asdict(tiny_spec(untrained=(7, 8)))))}
PLACES = [place for place in _places(GOOD) if place]


@st.composite
def mutations(draw: st.DrawFn) -> dict[str, Any]:
    """A good model.json with some values replaced, removed, doubled, or given an unknown neighbor."""
    changed = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(PLACES))
        holder: Any = changed
        try:
            for key in place[:-1]:
                holder = holder[key]
            action = draw(st.sampled_from(["replace", "replace", "remove", "double", "add"]))
            if action == "replace":
                holder[place[-1]] = draw(values)
            elif action == "remove":
                del holder[place[-1]]
            elif action == "double" and isinstance(holder, list):
                holder.append(copy.deepcopy(holder[-1]))
            elif isinstance(holder, dict):
                holder[draw(st.text(max_size=5))] = draw(values)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    return changed


def _judged(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / SPEC_FILE).write_bytes(data)
        refusal = ""
        try:
            spec = read_model_file(folder).spec
        except SpecError as error:
            refusal = str(error)
        if refusal:
            assert SPEC_FILE in refusal
        else:
            assert_usable(spec, folder)


def assert_usable(spec: ModelSpec, folder: Path) -> None:
    """It survives its file, and its network can be made and ends in every class."""
    write_spec(spec, folder)
    assert read_model_file(folder).spec == spec
    assert len(spec.predicted) >= 2
    numbers = spec.network
    deepest = max(numbers.features) ** 2 * max(map(max, numbers.kernels)) ** 3
    if deepest * (sum(numbers.convolutions_encoder) + sum(numbers.convolutions_decoder)) > MOST_PARAMETERS:
        return
    with torch.device("meta"):
        network = UNet(numbers, spec.classes)
    assert network.heads[0].weight.shape[:2] == (spec.classes, numbers.features[0])  # type: ignore[union-attr, index]


@given(content=mutations())
def model_values(content: dict[str, Any]) -> None:
    """Values of a model.json change."""
    _judged(json.dumps(content).encode("utf-8", "surrogatepass"))


@given(edits=st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=0, max_size=3)), min_size=1, max_size=5))
def model_bytes(edits: list[tuple[int, bytes]]) -> None:
    """Bytes of a model.json change."""
    data = json.dumps(GOOD, indent=1).encode()
    for at, replacement in edits:
        place = at % len(data)
        data = data[:place] + replacement + data[place + 1 :]
    _judged(data)


PROPERTIES = (model_values, model_bytes)
