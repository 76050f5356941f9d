"""Becomes a program that ends with the process PARENT, however that ends: exec_with_parent.py PARENT PROGRAM ARGUMENT...

Run as a file, by an interpreter of its own: it imports nothing of the package.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # of linux/prctl.h

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)  # it has ended before
    os.execv(sys.argv[2], sys.argv[2:])
