"""Which cases no expert labeled: their label maps were drawn by a model.

::

    unlabeled.json    {"unlabeled": ["case", ...]}      optional; all other cases have labels of experts
"""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from flare_infer.errors import DatasetError
from flare_infer.files.json_file import read_object
from train.dataset.splits import names_in
from train.problems import raise_if_any

UNLABELED_FILE: Final = "unlabeled.json"
_KEY: Final = "unlabeled"


def read_unlabeled(folder: Path, names: Collection[str], validation: Collection[str]) -> frozenset[str]:
    """The names of the cases that have pseudo labels only; none if the dataset has no `unlabeled.json`.

    Args:
        folder: the dataset.
        names: names of all its cases.
        validation: names of the cases that validate.

    Raises:
        ProblemsError: if the file names a case that does not exist, a case twice, or one that validates.
    """
    path = folder / UNLABELED_FILE
    try:
        content = read_object(path, DatasetError)
    except FileNotFoundError:
        return frozenset()
    problems: list[str] = []
    listed = names_in(path, _KEY, content.get(_KEY), problems)
    unlabeled = frozenset(listed)
    problems += [f"{path}: case {case} is listed twice" for case in sorted(unlabeled) if listed.count(case) > 1]
    problems += [f"{path}: case {case} is not in the dataset" for case in sorted(unlabeled - set(names))]
    problems += [
        f"{path}: case {case} validates, but its labels are pseudo labels; a model is measured by experts' labels only"
        for case in sorted(unlabeled & set(validation))
    ]
    raise_if_any(problems)
    return unlabeled
