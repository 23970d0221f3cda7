"""The cases of a folder in a store of objects, by the names of its files."""

from collections.abc import Mapping
from pathlib import Path

from flare_infer.cluster.storage import RemoteFolder
from flare_infer.cluster.task import RemoteFile
from flare_infer.errors import UsageError
from flare_infer.formats.volume_io import IMAGE_SUFFIXES, case_name, is_image_channel, label_map_of
from flare_infer.runs.case_result import CaseResult


def remote_cases(url: str) -> tuple[Mapping[str, RemoteFile], list[CaseResult], list[str]]:
    """The scans of a folder, or a single one, as `find_cases` finds them among local files.

    Label maps beside scans are known by their names only; DICOM is not looked for.

    Args:
        url: of a folder, or of an image file.

    Returns:
        scans by case name; results of cases that several files claim to be; names of label maps that are left out.

    Raises:
        UsageError: if there is no scan.
    """
    folder, _, last = url.rstrip("/").rpartition("/")
    if last.lower().endswith(IMAGE_SUFFIXES):
        return {case_name(Path(last)): RemoteFile(url, RemoteFolder(folder).files().get(last, 0))}, [], []
    remote = RemoteFolder(url)
    scans = remote.scans()
    if not scans:
        raise UsageError(
            f"{url}: holds no image file ({', '.join(IMAGE_SUFFIXES)}); DICOM is read from an ordinary folder only"
        )
    left_out = _label_maps(scans)
    by_name: dict[str, list[str]] = {}
    for name in scans:
        if name not in left_out:
            by_name.setdefault(case_name(Path(name)), []).append(name)
    failures = [
        CaseResult(name=case, output=None, seconds=0.0, reason=f"{url}: {' and '.join(names)} are one case, {case}")
        for case, names in by_name.items()
        if len(names) > 1
    ]
    cases = {
        case: RemoteFile(f"{remote.url}/{names[0]}", scans[names[0]])
        for case, names in by_name.items()
        if len(names) == 1
    }
    return cases, failures, left_out


def _label_maps(names: Mapping[str, int]) -> list[str]:
    """Those that are label maps by their names: X_labels where there is a scan X, or scans are called X_0000."""
    paths = [Path(name) for name in names]
    cases = {case_name(path) for path in paths}
    channels = any(is_image_channel(path) for path in paths)
    return [
        path.name
        for path in paths
        if not is_image_channel(path) and (of := label_map_of(path)) is not None and (of in cases or channels)
    ]
