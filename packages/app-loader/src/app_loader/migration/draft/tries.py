"""How much a trial may cost: so many runs of the codes, and so long on the clock, whichever comes first.

What was not finished by then claims nothing; why it ended is kept, so that the draft can say it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

LIMIT = 2000
"""How many runs a trial may make at most."""

SECONDS = 120.0
"""How long a trial may take at most. One that finds something is mostly done in seconds; where the new code computes
something else, nothing is to be found, and looking on would be in vain."""


class OutOfTriesError(Exception):
    """The bound of the work was reached."""


@dataclass(slots=True)
class Tries:
    """What is left of a trial's budget.

    Attributes:
        left: how often codes may be run at most.
        seconds: how long, from now on.
        made: how often they were run.
        met: how often they did what was wanted.
        ended: what was used up; empty while nothing is.
    """

    left: int = LIMIT
    seconds: float = SECONDS
    made: int = 0
    met: int = 0
    ended: str = ""
    _began: float = field(default_factory=time.monotonic)

    def take(self) -> None:
        """Count one run.

        Raises:
            OutOfTriesError: there is none left, or no time.
        """
        if self.made >= self.left:
            self.ended = f"{self.left:,} runs"
        elif time.monotonic() - self._began > self.seconds:
            self.ended = f"{self.seconds:g} seconds"
        if self.ended:
            raise OutOfTriesError
        self.made += 1
