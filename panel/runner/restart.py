"""When a process that ended by itself is started again, and when a stopped one counts as dead.

Pure: times in, decisions out; no process and no clock. `runner.supervisor` keeps one `Restarts` per process and asks.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..launch import Restart

__all__ = ["RestartPolicy", "Restarts"]


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How long to wait before each start after the first.

    Attributes:
        first_s: before the first start anew; each failure after it doubles the pause.
        longest_s: the longest pause.
        healthy_s: who was ready for so long has recovered, and the pauses begin anew.
        frozen_s: who stands stopped by a signal (SIGSTOP) for so long is killed: it answers nobody.
    """

    first_s: float = 1.0
    longest_s: float = 30.0
    healthy_s: float = 10.0
    frozen_s: float = 10.0

    def pause_s(self, failures: int) -> float:
        """Returns the pause after that many failures in a row, at least one."""
        # Doubled so often it is the longest anyway; the bound keeps the power small.
        return min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 64))


class Restarts:
    """The restarts of one process.

    What was never ready is not started again: what keeps it from starting is most likely still there, and a person who
    waits for the run should see it. Once it was ready it is started again however often that takes.

    Args:
        wanted: what the deployment asks for.
        policy: how long the pauses are.
        was_ready: it was ready before a runner that ended had told so.
        failures: how often in a row it had ended by itself by then.

    Attributes:
        failures: how often in a row it ended by itself.
    """

    def __init__(
        self, wanted: Restart, policy: RestartPolicy | None = None, *, was_ready: bool = False, failures: int = 0
    ) -> None:
        self._wanted = wanted
        self._policy = policy or RestartPolicy()
        self._was_ready = was_ready
        self._ready_at: float | None = None
        self.failures = failures
        self._frozen_at: float | None = None

    def ready(self, now: float) -> None:
        """The process answers."""
        self._was_ready, self._ready_at = True, now

    def ended(self, now: float) -> float | None:
        """The process ended, and nobody had asked for that; returns the pause until its next start, None for never."""
        if self._ready_at is not None and now - self._ready_at >= self._policy.healthy_s:
            self.failures = 0
        self._ready_at = self._frozen_at = None
        if self._wanted is Restart.NEVER or not self._was_ready:
            return None
        self.failures += 1
        return self._policy.pause_s(self.failures)

    def pause_s(self) -> float:
        """Returns the pause that the last end asked for, for a runner that finds a process waiting."""
        return self._policy.pause_s(max(1, self.failures))

    def seen(self, *, frozen: bool, now: float) -> float | None:
        """Takes a look at the living process.

        Returns:
            None while it runs; else the seconds until it is to be killed, 0 when that is now.
        """
        if not frozen or self._wanted is Restart.NEVER:
            self._frozen_at = None
            return None
        if self._frozen_at is None:
            self._frozen_at = now
        return max(0.0, self._frozen_at + self._policy.frozen_s - now)
