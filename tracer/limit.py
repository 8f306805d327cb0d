"""A traced run that may take so long and no longer: then it is ended as a job manager ends a job, by SIGTERM first."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

from sdee.base.process import descendants
from sdee.tracer.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdee.tracer.saved import Saver
    from sdee.tracer.tracefile.writer import Writer


class Limit(NamedTuple):
    """Seconds that a run may take, and seconds from SIGTERM to SIGKILL then; 0: SIGKILL at once."""

    seconds: float
    grace: float


class LimitedRecorder(Recorder):
    """A recorder that ends all processes of the job when its time is over. `ended`: it had to."""

    def __init__(
        self, writer: Writer, saver: Saver, notice: Callable[[str], None], limit: Limit, *, listings: bool = False
    ) -> None:
        """Begin to count the seconds."""
        super().__init__(writer, saver, notice, listings=listings)
        self.ended = False
        self._grace = limit.grace
        self._next = time.monotonic() + limit.seconds

    def pulse(self) -> None:
        """See engine.Handler."""
        super().pulse()
        if time.monotonic() < self._next:
            return
        gentle = self._grace > 0 and not self.ended
        self.ended = True
        self._next = time.monotonic() + (self._grace if gentle else 0)
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                if gentle:  # SIGCONT as slurmstepd does: a stopped process would not see the other
                    os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGTERM if gentle else signal.SIGKILL)

    def _processes(self) -> list[int]:
        """Return the job's processes: those seen, daemons among them, and what these have begun."""
        seen = self.records.living()
        return list(dict.fromkeys([*seen, *(pid for top in seen for pid in descendants(top))]))
