"""A circuit breaker: who keeps failing is left alone for a while, then asked with one call at a time."""

from collections.abc import Callable

from services.notify.core.clocks import backoff

FAILURES = 5


class Circuit:
    """One destination's. Times are seconds of any clock that never goes back."""

    def __init__(self, base: float, cap: float, chance: Callable[[], float]) -> None:
        self._base = base
        self._cap = cap
        self._chance = chance
        self._failures = 0
        self._opened = 0
        self._open_until = 0.0

    @property
    def closed(self) -> bool:
        """Whether calls may go as usual."""
        return self._failures < FAILURES

    def room(self, now: float, limit: int, under_way: int) -> int:
        """How many calls may begin now."""
        if self.closed:
            return max(0, limit - under_way)
        return 1 if now >= self._open_until and under_way == 0 else 0

    def note(self, up: bool, now: float) -> bool:
        """Count how a call ended. Returns whether the circuit opened or closed with it."""
        was_closed = self.closed
        if up:
            self.succeeded()
        else:
            self.failed(now)
        return self.closed != was_closed

    def succeeded(self) -> None:
        self._failures = self._opened = 0
        self._open_until = 0.0

    def failed(self, now: float) -> None:
        """Count a failure. Those of calls that began before the circuit opened make it no longer."""
        if now < self._open_until:
            return
        self._failures += 1
        if not self.closed:
            self._opened += 1
            self._open_until = now + backoff(self._opened, self._base, self._cap, self._chance())
