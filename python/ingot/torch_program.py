"""The command line inside of Python: `ingot ... --backend pytorch` becomes `python -m ingot.torch_program ...`."""

from __future__ import annotations

import signal
import sys

# The program waits for these in its main thread. Threads that libraries start on import must leave them to it.
_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1}


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    import torch  # noqa: F401

    from ingot import _program, pytorch

    pytorch.install(_program)
    for number in (signal.SIGINT, signal.SIGPIPE):  # Python has handlers of its own
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    sys.exit(_program.run(["ingot", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
