"""When a write that is made now would show in a file's times, and waiting until it would."""

from __future__ import annotations

import sys
import time

from mlrepro.kernel import dates_by_our_clock

# A write is dated with the last tick of a clock: of this kernel's, which can be asked for it, or of
# another machine's, whose ticks are at most 10 ms apart; the index counts on 20.
_ANY_TICK_NS = 21_000_000
_SECOND_NS = 1_000_000_000
_COARSE = 5  # linux/time.h: CLOCK_REALTIME_COARSE, which is what files are dated by
_LATE_NS = 100_000  # what one core may hear of a tick later than another


def pass_by(newest_ns: int, device: int) -> int:
    """Wait until any write on the device would be dated later than ``newest_ns`` (epoch).

    Returns a time (epoch ns) after ``newest_ns`` by which no later write is dated: what is older
    now stays as it is, or shows. 0 where that is only likely, since another machine's clock dates
    it, or this one's was set back.
    """
    if not sys.platform.startswith("linux") or not dates_by_our_clock(device):
        wait = newest_ns + _ANY_TICK_NS - time.time_ns()
        if 0 < wait < _SECOND_NS:  # a clock that was set back is not waited for
            time.sleep(wait / 1e9)
        return 0
    tick_ns = int(time.clock_getres(_COARSE) * 1e9)
    while True:
        now, fine = time.clock_gettime_ns(_COARSE), time.time_ns()
        if newest_ns - now > _SECOND_NS:
            return 0
        if now > newest_ns and fine - now >= _LATE_NS:
            return now
        rest = now + _LATE_NS - fine
        time.sleep(max(rest if now > newest_ns else rest + tick_ns, _LATE_NS) / 1e9)
