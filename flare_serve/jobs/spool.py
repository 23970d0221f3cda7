"""The spool: the folder of uploads and results; every name in it is the program's own.

::

    SPOOL/jobs.sqlite          the database
    SPOOL/incoming/RANDOM      uploads that are not yet whole; removed when the service starts
    SPOOL/jobs/ID/upload       the scan: a file, or a folder of DICOM files; removed when the job has ended
    SPOOL/jobs/ID/results/     what was made of it
    SPOOL/jobs/ID/work/        what an archive held; removed when the job has ended
"""

import os
import secrets
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

from flare_infer.errors import UsageError
from flare_infer.files.write_whole import to_disk
from flare_serve.errors import SpoolFullError

CASE: Final = "scan"
"""Name of the case of every job: what its results are called, and what pages say."""


class Spool:
    """The folders of a spool.

    Args:
        folder: the spool; made if it is not there, readable for this account only.

    Raises:
        UsageError: if it cannot be made or written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._incoming, self._jobs = folder / "incoming", folder / "jobs"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for inside in (self._incoming, self._jobs):
                inside.mkdir(mode=0o700, exist_ok=True)
            if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as error:
            raise UsageError(f"{folder}: cannot be a spool ({error.strerror}); name a folder with --spool") from error

    @property
    def database(self) -> Path:
        """The file of the database."""
        return self.folder / "jobs.sqlite"

    def incoming(self) -> Path:
        """A new place for an upload, on which nothing lies yet: for a file or a folder."""
        return self._incoming / secrets.token_hex(16)

    def job(self, job_id: str) -> Path:
        """The folder of a job."""
        return self._jobs / job_id

    def upload(self, job_id: str) -> Path:
        """The scan of a job."""
        return self.job(job_id) / "upload"

    def results(self, job_id: str) -> Path:
        """The folder of what was made of a job."""
        return self.job(job_id) / "results"

    def work(self, job_id: str) -> Path:
        """The folder for what the archive of a job holds."""
        return self.job(job_id) / "work"

    def take(self, upload: Path, job_id: str) -> None:
        """Move an upload into a new folder of a job; on the disk when this returns.

        Raises:
            OSError: if it cannot be moved; it is where it was then.
        """
        folder = self.job(job_id)
        folder.mkdir(mode=0o700)
        try:
            for path in (upload, *(upload.rglob("*") if upload.is_dir() else ())):
                _sync(path)
            upload.rename(self.upload(job_id))
            for path in (folder, self._jobs):
                _sync(path)
        except OSError:
            self.give_back(job_id, upload)
            raise

    def give_back(self, job_id: str, upload: Path) -> None:
        """Undo `take`."""
        with suppress(OSError):
            self.upload(job_id).rename(upload)
        remove(self.job(job_id))

    def size(self, job_id: str) -> int:
        """The bytes of the files of a job."""
        return _size(self.job(job_id))

    def results_size(self, job_id: str) -> int:
        """The bytes of what was made of a job."""
        return _size(self.results(job_id))

    def free(self) -> int:
        """The bytes that are left on the disk."""
        return shutil.disk_usage(self.folder).free

    def refuse_if_full(self, size: int) -> None:
        """Make sure that the disk has room for so many bytes.

        Raises:
            SpoolFullError: if it has not.
        """
        if self.free() < size:
            raise SpoolFullError("the disk of the service is full; come again when jobs were removed")

    def clear_incoming(self) -> None:
        """Remove every upload that is not whole."""
        for path in self._incoming.iterdir():
            remove(path)

    def keep_only(self, ids: Collection[str]) -> None:
        """Remove the folders of all other jobs."""
        for path in self._jobs.iterdir():
            if path.name not in ids:
                remove(path)


def remove(path: Path) -> None:
    """Remove a file or folder; no error if it is gone, or stays because the disk refuses."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        to_disk(handle)
    finally:
        os.close(handle)
