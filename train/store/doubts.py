"""What was doubtful about the CTs of a store when they were prepared."""

from contextlib import suppress
from pathlib import Path

from flare_infer.errors import DatasetError
from flare_infer.files.json_file import read_object
from train.store.store import CASE_FILE, read_names


def read_doubts(store: Path) -> list[str]:
    """The doubts about the cases of a store, one line each; earlier versions recorded none.

    Raises:
        DatasetError: if the folder is no finished store. Damaged cases are passed over: `read_store` names them.
    """
    lines = []
    for name in sorted([*read_names(store, "training"), *read_names(store, "validation")]):
        with suppress(DatasetError, FileNotFoundError):
            lines += [
                f"{name}: {doubt}" for doubt in read_object(store / name / CASE_FILE, DatasetError).get("doubts", [])
            ]
    return lines
