"""The plan that assigns faults to requests."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import attrs

from asyncauth.sandbox.faults import KINDS, Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncauth.sandbox.faults import Answer


@attrs.define
class _Planned:
    fault: Fault
    left: int | None


@attrs.define
class FaultPlan:
    """The faults for a system's token requests, or for its API requests.

    Faults form a queue: a request gets the first that fits it, so ``server_error(times=2)`` and then
    ``too_many_requests()`` answer 503, 503, 429, 429… A fault stays until ``times`` requests got it, or until `clear`.
    Every method raises ``ValueError`` for wrong arguments. Usable in any thread.
    """

    kinds: frozenset[str] = KINDS
    _queue: list[_Planned] = attrs.field(factory=list[_Planned], init=False, repr=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False, repr=False)

    def add(self, *faults: Fault) -> None:
        """Add faults to the end of the queue: all of them, or none and raise ``ValueError``."""
        for fault in faults:
            self._check(fault)
        with self._lock:
            self._queue.extend(_Planned(fault, fault.times) for fault in faults)

    def switch(self, fault: Fault, *, on: bool) -> None:
        """Replace the faults of its kind with this one, or add it to the queue; ``on=False`` removes its kind.

        Other kinds keep their positions, and the rest of their ``times``.
        """
        self._check(fault)
        with self._lock:
            kinds = [planned.fault.kind for planned in self._queue]
            place = kinds.index(fault.kind) if fault.kind in kinds else len(kinds)
            self._queue = [planned for planned in self._queue if planned.fault.kind != fault.kind]
            if on:
                self._queue.insert(place, _Planned(fault, fault.times))

    def clear(self) -> None:
        """Remove all faults. Requests that already hang continue to hang until their client closes the connection."""
        with self._lock:
            self._queue.clear()

    def take(self, *, step: str | None = None, path: str = "") -> Fault | None:
        """Return the fault for a request of this step or path, if any, and count it."""
        if not self._queue:
            return None
        with self._lock:
            for planned in self._queue:
                fault = planned.fault
                if (fault.step is None or fault.step == step) and path.startswith(fault.path or ""):
                    if planned.left is not None:
                        planned.left -= 1
                        if not planned.left:
                            self._queue.remove(planned)
                    return fault
        return None

    def _check(self, fault: Fault) -> None:
        if fault.kind not in self.kinds:
            raise ValueError(f"{fault.kind} is a fault of token endpoints, not of the API")

    @property
    def pending(self) -> tuple[Fault, ...]:
        """Return the active faults in their order, each with the rest of its ``times``."""
        with self._lock:
            return tuple(attrs.evolve(planned.fault, times=planned.left) for planned in self._queue)

    def hang(
        self,
        *,
        times: int | None = None,
        step: str | None = None,
        path: str | None = None,
        processed: bool = False,
    ) -> None:
        """Accept the request and never answer; ``processed``: the request takes effect."""
        self.add(Fault(kind="hang", times=times, step=step, path=path, processed=processed))

    def disconnect(
        self,
        *,
        times: int | None = None,
        step: str | None = None,
        path: str | None = None,
        processed: bool = False,
    ) -> None:
        """Abort the connection (RST) without a byte of the answer; ``processed``: the request takes effect."""
        self.add(Fault(kind="disconnect", times=times, step=step, path=path, processed=processed))

    def reset(self, *, times: int | None = None, step: str | None = None, path: str | None = None) -> None:
        """Process the request, send the headers and half of the body, then abort the connection."""
        self.add(Fault(kind="reset", times=times, step=step, path=path))

    def slow_drip(
        self,
        seconds: float = 1.0,
        *,
        times: int | None = None,
        step: str | None = None,
        path: str | None = None,
    ) -> None:
        """Send the right answer slowly: its body takes this many seconds."""
        self.add(Fault(kind="slow_drip", seconds=seconds, times=times, step=step, path=path))

    def server_error(
        self,
        status: int = 503,
        *,
        retry_after: float | str | None = None,
        times: int | None = None,
        step: str | None = None,
        path: str | None = None,
    ) -> None:
        """Answer with this 5xx status and an HTML body."""
        self.add(Fault(kind="server_error", status=status, retry_after=retry_after, times=times, step=step, path=path))

    def too_many_requests(
        self,
        retry_after: float | str | None = None,
        *,
        as_date: bool = False,
        times: int | None = None,
        step: str | None = None,
        path: str | None = None,
    ) -> None:
        """Answer with 429; ``retry_after`` as in `Fault`, ``as_date`` sends its seconds as an HTTP date."""
        self.add(
            Fault(
                kind="too_many_requests",
                retry_after=retry_after,
                retry_after_date=as_date,
                times=times,
                step=step,
                path=path,
            )
        )

    def malformed(self, *, times: int | None = None, step: str | None = None, path: str | None = None) -> None:
        """Answer with 200 and truncated JSON; the request does not take effect."""
        self.add(Fault(kind="malformed", times=times, step=step, path=path))

    def missing_fields(self, *fields: str, times: int | None = None, step: str | None = None) -> None:
        """Leave these fields out of the token answer (inside ``data`` if it is wrapped)."""
        self.add(Fault(kind="missing_fields", fields=fields, times=times, step=step))

    def replace_fields(
        self, values: Mapping[str, object], *, times: int | None = None, step: str | None = None
    ) -> None:
        """Put these values into the token answer: ``{"expires_in": "abc"}``. NaN is sent as ``NaN``."""
        self.add(Fault(kind="replace_fields", values=values, times=times, step=step))

    def wrong_credentials(self, *, times: int | None = None, step: str | None = None) -> None:
        """Reject the credential in the endpoint's own words."""
        self.add(Fault(kind="wrong_credentials", times=times, step=step))

    def unauthorized(self, *, times: int | None = None, step: str | None = None, path: str | None = None) -> None:
        """Answer every request with 401, as the API does."""
        self.add(Fault(kind="unauthorized", times=times, step=step, path=path))

    def redirect(
        self,
        location: str,
        *,
        status: int = 307,
        times: int | None = None,
        step: str | None = None,
        path: str | None = None,
    ) -> None:
        """Answer with a redirect to this URL."""
        self.add(Fault(kind="redirect", location=location, status=status, times=times, step=step, path=path))

    def answer(
        self, answer: Answer, *, times: int | None = None, step: str | None = None, path: str | None = None
    ) -> None:
        """Let an async callable answer requests; if it returns ``None``, the sandbox answers as usual.

        It runs on the sandbox's event loop. It may read the request's body, which is kept for the sandbox; it must make
        a new response each time.
        """
        self.add(Fault(kind="answer", answer=answer, times=times, step=step, path=path))
