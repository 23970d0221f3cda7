"""The tree of this project's errors.

::

    FlareError              whatever a user can mend; its text is one line that says what was found and what to do
    |-- UsageError          the command was asked for something impossible (exit code 2)
    |-- ImageError          one image cannot be used; other cases go on
    |-- WeightsError        a weights directory cannot be used
    |-- SpecError           a model.json or a record built from it is not consistent
    |-- ReportError         a report of earlier runs cannot be read
    `-- DatasetError        a training or evaluation folder cannot be used
"""


class FlareError(Exception):
    """Base of every error this project raises on purpose; `str(error)` is one line for the user."""


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
