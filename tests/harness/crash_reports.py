"""What crash reporters make of an error: Sentry's real client with local variables, and nothing sent anywhere."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.scrubber import EventScrubber
from sentry_sdk.transport import Transport
from sentry_sdk.utils import event_from_exception

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sentry_sdk.envelope import Envelope

__all__ = ["crash_report", "every_frame", "family"]


class _Memory(Transport):
    """Keeps the events that a client would send."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.events.append(envelope.get_event())


@functools.cache
def _client() -> tuple[sentry_sdk.Client, _Memory]:
    transport = _Memory()
    client = sentry_sdk.Client(
        dsn="http://key@127.0.0.1/1",
        transport=transport,
        default_integrations=False,
        include_local_variables=True,
        include_source_context=False,  # a test's own source says what its secrets are called
        event_scrubber=EventScrubber(denylist=[], pii_denylist=[]),
        max_value_length=1_000_000,
    )
    return client, transport


def crash_report(error: BaseException) -> str:
    """Return the event that Sentry's client sends of an error, as JSON.

    With all local variables, whatever their names, at full length: by default the client blanks out variables called
    ``password`` or ``token`` and cuts long values, which would hide what a frame shows.
    """
    client, transport = _client()
    event, hint = event_from_exception(error, client_options=client.options)
    client.capture_event(event, hint)
    return json.dumps(transport.events.pop())


def family(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it came from: causes, contexts (suppressed ones, too) and members of groups."""
    seen: set[int] = set()
    unseen: list[BaseException | None] = [error]
    while unseen:
        each = unseen.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            unseen += each.__cause__, each.__context__
            unseen += each.exceptions if isinstance(each, BaseExceptionGroup) else ()


def every_frame(error: BaseException) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the function and the locals of each frame that an error and all that it came from hold."""
    for each in family(error):
        traceback = each.__traceback__
        while traceback is not None:
            frame = traceback.tb_frame
            yield f"{frame.f_globals.get('__name__')}.{frame.f_code.co_name}", frame.f_locals
            traceback = traceback.tb_next
