"""Where the real CTs and label maps lie that are not in the repository."""

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


def real_data() -> Path:
    """Their folder: FLARE_TEST_DATA, else shared/data beside the checkout; without it the test is skipped."""
    folder = Path(os.environ.get("FLARE_TEST_DATA", CHECKOUT.parent / "shared" / "data"))
    if not (folder / "ct").is_dir():
        pytest.skip(f"no real CTs and label maps in {folder}; FLARE_TEST_DATA names another place")
    return folder
