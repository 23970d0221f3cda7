"""What every test of the node needs."""

import pytest

pytest.importorskip("pynetdicom", reason="needs the extra serve")
