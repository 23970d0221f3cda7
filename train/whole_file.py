"""A file that appears only when it is whole; on a full disk nothing of it is left, and what was there stays."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from flare_infer.errors import UsageError

PART_SUFFIX: Final = ".part"


@contextmanager
def whole_file(final: Path) -> Iterator[Path]:
    """Inside, the file to write; on leaving it takes the place of `final`.

    If an error leaves the block, `final` is what it was, and nothing else is left.

    Raises:
        UsageError: if the file cannot be written; a disk that is full, above all. `RuntimeError` counts as that, too,
            because torch and Blosc2 raise it where the system refuses to write.
    """
    part = final.with_name(final.name + PART_SUFFIX)
    try:
        yield part
        part.replace(final)
    except (OSError, RuntimeError) as error:
        _drop(part)
        raise not_written(final, error) from error
    except BaseException:
        _drop(part)
        raise


def write_whole(final: Path, text: str) -> None:
    """Write a text in UTF-8; see `whole_file`."""
    with whole_file(final) as part:
        part.write_text(text, encoding="utf-8")


def not_written(path: Path, error: Exception) -> UsageError:
    """What to tell people about something that could not be written."""
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    return UsageError(
        f"{path}: could not be written ({reason}); if the disk is full make room, then the same command goes on from "
        "what is whole"
    )


def _drop(part: Path) -> None:
    with suppress(OSError):  # why it could not be written is what people need to know
        part.unlink(missing_ok=True)
