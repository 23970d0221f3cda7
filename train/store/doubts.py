"""What was doubtful about the CTs of a store when they were prepared."""

from contextlib import suppress
from pathlib import Path

from flare_infer.errors import DatasetError
from train.store.sealed import sealed_description
from train.store.store import CASE_FILE, read_names


def read_doubts(store: Path) -> list[str]:
    """The doubts about the cases of a store, one line each; earlier versions recorded none.

    Raises:
        DatasetError: if the folder is no finished store. Damaged cases are passed over: `read_store` names them.
    """
    lines = []
    for name in sorted([*read_names(store, "training"), *read_names(store, "validation")]):
        with suppress(DatasetError):
            doubts = sealed_description(store / name, CASE_FILE).get("doubts", [])
            lines += [f"{name}: {doubt}" for doubt in doubts]
    return lines
