"""Outputs in a store of objects: a local folder holds the report, and what changes there is put to the store."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from flare_infer.cluster.storage import RemoteFolder, files_below, put_changes
from flare_infer.errors import UsageError
from flare_infer.formats.volume_io import case_name, image_ending, is_image_channel
from flare_infer.runs.further import INDEX, STATISTICS, TABLE, Beside, OutputForms
from flare_infer.runs.ledger import LEDGER_FILE
from flare_infer.runs.report import REPORT_FILE, TABLE_FILE, read_report

_OF_THE_FOLDER: Final = (REPORT_FILE, TABLE_FILE, LEDGER_FILE, TABLE, INDEX)
_PUT_SECONDS: Final = 10.0
"""So often report and journal are put: what a killed run did since then, the next one does again."""


class Mirror:
    """What concerns a whole folder of outputs in a store; as a context it is fetched, and put at the end.

    Args:
        remote: the folder in the store, on which no other run works.
        folder: an empty local folder.
        say: callback, called with a line if something cannot be put.
    """

    def __init__(self, remote: RemoteFolder, folder: Path, say: Callable[[str], None]) -> None:
        self._remote = remote
        self._folder = folder
        self._say = say
        self._before: Mapping[str, tuple[int, int, int]] = {}
        self._put_at = time.monotonic()

    def __enter__(self) -> Self:
        try:
            for name in _OF_THE_FOLDER:
                self._remote.fetch(name, self._folder)
        except OSError as error:
            raise UsageError(
                f"{self._remote.url}: cannot be reached ({error}); may you read and write there?"
            ) from error
        self._before = dict(files_below(self._folder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._put()

    def put_now_and_then(self) -> None:
        """Put what has changed, if that is some time ago."""
        if time.monotonic() - self._put_at > _PUT_SECONDS:
            self._put()

    def with_statistics(self, forms: OutputForms) -> OutputForms:
        """The same forms; statistics of all cases are fetched before they are summed up."""

        def folder(outputs: Path, beside: Beside, failed: Mapping[str, str]) -> None:
            for file in (file for files in beside.values() for file in files if file.endswith(STATISTICS)):
                self._remote.fetch(file, outputs)
                self._before = {**self._before, **{name: of for name, of in files_below(outputs) if name == file}}
            forms.folder(outputs, beside, failed)

        return replace(forms, folder=folder)

    def _put(self) -> None:
        try:
            self._before = put_changes(self._remote, self._folder, self._before)
        except OSError as error:
            self._say(f"{self._remote.url}: the report cannot be put ({error}); label maps are written all the same")
        self._put_at = time.monotonic()


def refuse_scans_at(remote: RemoteFolder, names: Mapping[str, object], report: Path) -> None:
    """Make sure that label maps do not go among scans, as far as names tell.

    Args:
        remote: the folder for label maps.
        names: the cases, by name.
        report: a local folder with the report of that folder.

    Raises:
        UsageError: if a file there is called as a scan is, or is another file of one of the cases.
    """
    ours = {name for name, record in read_report(report).items() if record.output_sha256}
    for name in remote.scans():
        path = Path(name)
        if name.removesuffix(image_ending(path)) not in ours and (is_image_channel(path) or case_name(path) in names):
            raise UsageError(
                f"{remote.url}: holds {name}, which is a scan by its name, or is in no report; are inputs and outputs "
                "exchanged? choose an empty place for label maps"
            )
