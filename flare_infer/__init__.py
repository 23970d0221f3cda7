"""Abdominal organs and tumors from CT: a scan goes in, a label map and its measurements come out.

::

    import flare_infer as flare

    result = flare.segment("ct.nii.gz")

The names of `__all__` are this package's interface for Python (docs/python.md). They are imported when they are first
used, so that `import flare_infer` takes no time.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from flare_infer.version import __version__

if TYPE_CHECKING:
    from flare_infer.api.model import Model, load, segment
    from flare_infer.api.result import Result
    from flare_infer.api.scans import ArrayScan, ScanInput

__all__ = ["ArrayScan", "Model", "Result", "ScanInput", "__version__", "load", "segment"]

_MODULES = {
    "ArrayScan": "flare_infer.api.scans",
    "Model": "flare_infer.api.model",
    "Result": "flare_infer.api.result",
    "ScanInput": "flare_infer.api.scans",
    "load": "flare_infer.api.model",
    "segment": "flare_infer.api.model",
}

# Not for type checkers: with it, every name would be there and be Any.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """This package, in which the function `segment` is not hidden by the folder of the same name.

    When a folder's modules are first imported, Python sets the folder as an attribute of its package.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _MODULES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
