"""What must hold of any reading: our volume is ITK's, or there is one clear line."""

import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from flare_infer.errors import ImageError
from flare_infer.formats.volume_io import read_volume
from flare_infer.volume.volume import Volume

MOST_GROWTH_BYTES = 512 * 2**20
"""All files here are small; a reader that takes more for one of them believed its header."""


def read_or_refusal(path: Path) -> Volume | None:
    """What a file is read as, or None if it is refused as it should be; anything else is a failure."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with nothing_printed():
            return read_volume(path)
    except ImageError as error:
        line = str(error)
        assert line.startswith(f"{path}: "), line
        return None
    finally:
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        assert grown < MOST_GROWTH_BYTES, f"{grown} bytes more for {path.stat().st_size}"


@contextmanager
def nothing_printed() -> Iterator[None]:
    """Make sure that no library writes to the terminal behind Python's back."""
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            caught.seek(0)
            printed = caught.read()
            assert not printed, printed


def assert_as_itk_reads(path: Path, volume: Volume) -> None:
    """The same voxels at the same place; values that are not numbers, which ITK turns to 0, aside."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    image = sitk.ReadImage(str(path))
    expected = sitk.GetArrayFromImage(image)
    assert volume.array_zyx.dtype == expected.dtype, (volume.array_zyx.dtype, expected.dtype)
    are_numbers = np.isfinite(volume.array_zyx)
    np.testing.assert_array_equal(volume.array_zyx[are_numbers], expected[are_numbers])
    assert volume.shape == expected.shape
    placement = volume.placement
    np.testing.assert_allclose(placement.spacing_mm[::-1], image.GetSpacing(), rtol=1e-9)
    np.testing.assert_allclose(placement.origin_mm, image.GetOrigin(), rtol=1e-9, atol=1e-9)
    # Half a degree at most is squared up where ITK takes it as it is.
    np.testing.assert_allclose(np.asarray(placement.axes)[::-1].T.ravel(), image.GetDirection(), atol=0.01)
