"""The tree of this project's errors.

::

    FlareError              whatever a user can correct; its text is one line that says what was found and what to do
    |-- MissingExtraError   a library of an optional extra is not installed
    |-- UsageError          the command was asked for something impossible (exit code 2)
    |-- ImageError          one image cannot be used; other cases go on
    |-- WeightsError        a weights directory cannot be used
    |-- SpecError           a model.json or a record built from it is not consistent
    |-- ReportError         a report of earlier runs cannot be read
    `-- DatasetError        a training or evaluation folder cannot be used
"""

import re
from typing import Final

_LONGEST: Final = 1000


def one_line(text: str) -> str:
    """Text as one line of moderate length in which nothing but printable characters is left.

    A name from a file must not steer the terminal that shows it, and a long list must not bury what matters: the
    middle is left out then.
    """
    if len(text) > _LONGEST:
        half = _LONGEST // 2
        text = f"{text[:half]} ... {text[-half:]}"
    joined = re.sub(r"\s*[\r\n]\s*", " ", text)
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in joined
    )


class FlareError(Exception):
    """Base of every error this project raises on purpose; `str(error)` is one line for the user."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class MissingExtraError(FlareError):
    """A library of an optional extra, such as `picture`, is not installed; what does not need it goes on."""


class UsageError(FlareError):
    """The request itself is impossible: a folder that is missing or empty, an unknown device."""


class ImageError(FlareError):
    """One image file cannot be read, or is not the three-dimensional scalar volume that is needed."""


class WeightsError(FlareError):
    """A weights directory is missing, incomplete, or does not fit its own model.json."""


class SpecError(FlareError):
    """A specification is inconsistent: wrong lengths, unknown classes, numbers out of range."""


class DatasetError(FlareError):
    """A dataset folder for training or evaluation breaks its own rules."""


class ReportError(FlareError):
    """The report of earlier runs, or one of its records, cannot be read."""


_WORDS: Final = ("can't allocate memory", "not enough memory", "cannot allocate memory", "bad_alloc", "out of memory")
"""Of RuntimeErrors: torch's on the host, C++'s own, and CUDA's."""


def ran_out_of_memory(error: Exception) -> bool:
    """Whether an error means that the host or a device had no memory left."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)
