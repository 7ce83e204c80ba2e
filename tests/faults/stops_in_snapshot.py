"""A worker that stops itself (SIGSTOP) with the records of a snapshot queued.

It has no lease, so that when it is continued its producer writes what was queued,
although its partitions have long been another's.
"""

import os
import signal
import sys
from typing import Any

from guard.shell import policy_file, stream
from guard.shell.app import run_until_signalled
from guard.shell.environment import load
from guard.shell.judging import JudgeRun

STOPS_IN = 3  # the snapshot, counted over all partitions

_snapshots = 0
_write = JudgeRun._write


async def _stopping(self: JudgeRun, key: bytes, value: bytes, offset: int) -> Any:
    global _snapshots
    sent = await _write(self, key, value, offset)
    if key == b"head":
        _snapshots += 1
        if _snapshots == STOPS_IN:
            os.kill(os.getpid(), signal.SIGSTOP)
    return sent


if __name__ == "__main__":
    JudgeRun._write = _stopping  # type: ignore[method-assign]
    stream.LEASE_SHARE = 1e9
    settings = load()
    sys.exit(run_until_signalled(settings, policy_file.load(settings.policy)))
