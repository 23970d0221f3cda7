"""`python as_any_user.py PEAK COMMAND...`: run a command without root's right to read any file.

The most memory that it held, in bytes, is written into the file PEAK. It is this small process that starts the command,
because a process's peak begins with that of whoever starts it. What is given up (Linux's capability bounding set) is
gone in the command.
"""

import ctypes
import os
import resource
import subprocess
import sys
from pathlib import Path

DROP_CAPABILITY, OVERRIDE, READ_SEARCH = 24, 1, 2

if os.getuid() == 0 and sys.platform == "linux":
    libc = ctypes.CDLL(None)
    for capability in (OVERRIDE, READ_SEARCH):
        libc.prctl(DROP_CAPABILITY, capability, 0, 0, 0)
peak, *command = sys.argv[1:]
code = subprocess.run(command, check=False).returncode
Path(peak).write_text(str(1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
