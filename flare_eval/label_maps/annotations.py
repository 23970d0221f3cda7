"""Which classes each case annotates: the file `annotated.json` that lies beside partially labeled references.

The file is one JSON object, from case name (without the channel `_0000`) to the codes that its label map annotates::

    {"default": [1, 2, 3], "case_0007": [14]}

Codes are those of the label set, the challenge's unless there is another, even where the label maps of a dataset use
others; names can replace them
(`["spleen"]`).

The optional key `default` is for every case that is not listed. Background in a label map means "none of the classes
that this case annotates": about any other class it says nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flare_infer.errors import DatasetError
from flare_infer.files.json_file import read_object
from flare_infer.label_set import FLARE23, LabelSet

FILE_NAME: Final = "annotated.json"
"""Name of the file beside the label maps."""

_DEFAULT_KEY: Final = "default"
_CHANNEL_SUFFIX: Final = "_0000"


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """The annotated classes of the cases of one folder.

    Attributes:
        source: file in which they were read, for error messages.
        cases: codes of the annotated classes, in ascending order, by case name.
        default: these codes for a case that `cases` does not hold; None if such a case is an error.
    """

    source: Path
    cases: Mapping[str, tuple[int, ...]]
    default: tuple[int, ...] | None = None

    def codes_of(self, case: str) -> tuple[int, ...]:
        """Codes of the classes that `case` annotates, in ascending order; there may be none.

        Raises:
            DatasetError: if the case is not listed and there is no default.
        """
        codes = self.cases.get(case, self.default)
        if codes is None:
            raise DatasetError(f'{self.source}: case {case} is not listed; list it, or add the key "{_DEFAULT_KEY}"')
        return codes


def read_annotations(path: Path, label_set: LabelSet = FLARE23) -> Annotations:
    """Read an `annotated.json`.

    Args:
        path: the file.
        label_set: the classes whose codes or names it holds.

    Raises:
        DatasetError: if the file cannot be read, is not such an object, or names a class that is none of the set's.
    """
    try:
        content = read_object(path, DatasetError)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); expected a JSON file") from error
    cases = {case: _codes(path, case, value, label_set) for case, value in content.items()}
    default = cases.pop(_DEFAULT_KEY, None)
    return Annotations(source=path, cases=cases, default=default)


def _codes(path: Path, case: str, value: object, label_set: LabelSet) -> tuple[int, ...]:
    if case.endswith(_CHANNEL_SUFFIX):
        # Such a key matches no case, so the default would silently hold instead.
        raise DatasetError(f"{path}: case names are written without {_CHANNEL_SUFFIX}, found {case}")
    if not isinstance(value, list):
        raise DatasetError(f"{path}: {case}: expected a list of codes, found {value!r}")
    codes: set[int] = set()
    for found in value:
        code = label_set.code_of(found) if isinstance(found, str) else found
        if type(code) is not int or code not in label_set.codes:
            expected = f"codes {label_set.codes[0]}..{label_set.codes[-1]} or names of classes"
            raise DatasetError(f"{path}: {case}: expected {expected}, found {found!r}")
        codes.add(code)
    return tuple(sorted(codes))
