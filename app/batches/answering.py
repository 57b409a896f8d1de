"""Has one line answered: sends it, and sends it again as long as that may help.

Promises
1. What overload or an absent service refuses is sent again, ever less often, until the job ends.
2. What ended a worker, or a proxy's patience, is sent a few times: one line cannot end workers for
   ever.
3. What was late beside other lines is sent again beside fewer (window.py), as what is refused; what
   is late alone, a few times.
"""

import asyncio
import itertools
import logging
import random
from dataclasses import dataclass
from datetime import UTC, datetime

from app import retry
from app.batches import output
from app.batches.input_lines import Line
from app.batches.records import Job
from app.batches.sender import Answer, Sender, UnreachableError
from app.batches.window import Window

log = logging.getLogger("quintet.batches")

# Of what is not overload.
_ATTEMPTS = 6
_OVERLOAD = frozenset({429, 503})
_LATE = 504


@dataclass(frozen=True, slots=True)
class Written:
    """What a line becomes in the two files of its job."""

    output: bytes = b""
    errors: bytes = b""
    tokens: int = 0


async def answered(sender: Sender, job: Job, line: Line, window: Window) -> Written:
    """What the two files get for a line; `window` is that of the job."""
    if line.fault:
        return Written(errors=output.unsent_line(job, line, line.fault.code, line.fault.message))
    request_id, attempts = f"{job.id}-{line.number}", 0
    for wait in itertools.count():
        asked_s = 0.0
        try:
            async with window.place(line.number, line.weight) as place:
                answer = await sender.send(job, line.body, request_id)
                late = answer.status == _LATE and not place.alone
                if late:
                    window.late(place)
                elif answer.status == 200:
                    window.in_time(place)
        except UnreachableError as error:
            log.debug("%s: %s", request_id, error)
        else:
            overload = late or answer.status in _OVERLOAD
            attempts += not overload or answer.code == "worker_lost"
            again = retry.is_retried(answer.status, answer.headers.get("x-should-retry"))
            if not again or attempts == _ATTEMPTS:
                return _written(job, line, answer)
            header = answer.headers.get("retry-after")
            asked_s = retry.retry_after_s(header, datetime.now(UTC))
        jitter = random.random()  # noqa: S311  # nosec B311
        await asyncio.sleep(retry.wait_s(wait, asked_s, jitter))
    raise AssertionError("attempts have no end")


def _written(job: Job, line: Line, answer: Answer) -> Written:
    whole = output.answered_line(job, line, answer)
    if answer.status == 200:
        return Written(output=whole, tokens=answer.tokens)
    return Written(errors=whole)
