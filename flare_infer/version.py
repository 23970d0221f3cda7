"""The version of the program, in a module of its own: what lies in the package does not come in by its door."""

from typing import Final

__version__: Final[str] = "0.1.0"
