"""`python as_any_user.py COMMAND...`: run a command without root's right to read what nobody may read.

What is given up here (Linux's capability bounding set) is gone in the program that takes this one's place.
"""

import ctypes
import os
import sys

DROP_CAPABILITY, OVERRIDE, READ_SEARCH = 24, 1, 2

if os.getuid() == 0 and sys.platform == "linux":
    libc = ctypes.CDLL(None)
    for capability in (OVERRIDE, READ_SEARCH):
        libc.prctl(DROP_CAPABILITY, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
