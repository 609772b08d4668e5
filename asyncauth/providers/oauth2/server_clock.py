"""The time in signed assertions and proofs: this machine's, until a server's ``Date`` shows that it is wrong."""

from __future__ import annotations

from asyncauth._base.durations import in_seconds
from asyncauth._core.try_state import current_try
from asyncauth.clock import SYSTEM_CLOCK, Clock

__all__ = ["ServerClock", "difference"]

_BACKDATED = 2.0
"""Seconds by which ``iat`` is in the past: many servers reject a signature from their future."""

_AGREE = 1.0
"""Seconds by which clocks may differ without a signature being rejected."""

_SECOND = 1.0
"""The resolution of a ``Date`` header, in seconds."""


class ServerClock:
    """An authorization server's clock, as far as it is known.

    It is this machine's clock until `learn` finds that they differ. From then on, it counts on a monotonic clock, so
    that setting this machine's clock changes nothing.

    Concurrency: usable in any thread.
    """

    __slots__ = ("_learned",)

    def __init__(self) -> None:
        self._learned: tuple[Clock, float] | None = None  # and how far the server's is ahead of its monotonic()

    def signing_time(self, clock: Clock = SYSTEM_CLOCK) -> int:
        """Return the time for a signature made now, in Unix epoch seconds.

        Args:
            clock: The clock that counts until the server's is known (default: this machine's).
        """
        return int(self._now(clock) - _BACKDATED)

    def learn(self) -> bool:
        """Adopt the server's clock from the current try's last answer, if it differs from the signing time.

        Returns:
            Whether they differed so much that the server may have rejected the signature.
        """
        state = current_try()
        server_now = state.server_now
        if server_now is None or abs(_ahead(self._now(state.clock))) <= _AGREE:
            return False
        self._learned = state.clock, server_now - state.clock.monotonic()
        return True

    def _now(self, clock: Clock) -> float:
        learned = self._learned
        return clock.wall() if learned is None else learned[0].monotonic() + learned[1]


def difference() -> str | None:
    """Return in words how much this machine's clock and the server's differ, by the current try's last answer.

    ``None``: not enough to matter, or the answer did not say.
    """
    ahead = _ahead(current_try().clock.wall())
    if abs(ahead) <= _AGREE:
        return None
    return f"this machine's clock is {in_seconds(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the server's"


def _ahead(now: float) -> float:
    """Return the seconds that a clock is ahead of the server's, by the current try's last answer; negative: behind.

    The answer's ``Date`` was written at some instant between sending and now, without its fraction of a second. The
    result is 0 if the two clocks agree at any of these instants, or if there was no ``Date``.

    Args:
        now: The clock's time now.
    """
    state = current_try()
    server_now = state.server_now
    if server_now is None or state.sent_at is None:
        return 0.0
    when_sent = now - (state.clock.monotonic() - state.sent_at)
    return max(0.0, when_sent - server_now - _SECOND) + min(0.0, now - server_now)
