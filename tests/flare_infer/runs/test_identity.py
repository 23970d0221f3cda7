"""What a report says about the process itself."""

import subprocess
import sys

import numpy as np

from flare_infer.runs.identity import peak_memory_mib

SAYS = """
from flare_infer.runs.identity import peak_memory_mib
print(peak_memory_mib())
x = bytearray(300 << 20)
print(peak_memory_mib())
"""


def test_the_peak_is_that_of_the_program_and_not_of_who_started_it() -> None:
    held = np.ones(2**27)  # 1 GiB in this process
    done = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert peak_memory_mib() > held.nbytes / 2**20
    assert 10 < before < held.nbytes / 2**20
    assert 250 < after - before < 400
