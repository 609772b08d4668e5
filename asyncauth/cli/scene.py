"""The demo's cast: a sandbox whose tokens live for seconds, a manager for each system, and the tallies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from asyncauth.cli.load import Tally, quantile
from asyncauth.manager import TokenManager
from asyncauth.providers.pago_facil import PagoFacilJWT
from asyncauth.providers.peakly import Peakly

if TYPE_CHECKING:
    from asyncauth.sandbox import Sandbox

__all__ = ["Lives", "Row", "Scene", "Step"]

_FULL_RUN, _LIFE = 20.0, 5
"""Seconds of a full run, and that tokens for the APIs live in it; in a shorter run they live for less."""


@attrs.frozen
class Lives:
    """Seconds that tokens live in a run; whole ones, for that is how the systems state them.

    Attributes:
        peakly: Peakly's token. Peakly says one second less than it is (``expires_in``).
        login_token: Pago Fácil's JWT for the API.
        create_token: The access token it is obtained with, which in truth lives for years.
        login: The JWT that is obtained with.
    """

    peakly: int
    login_token: int
    create_token: int = 60
    login: int = 30

    @classmethod
    def of_run(cls, seconds: float) -> Lives:
        """Return the lives for a run of so many seconds: short enough that the API's are renewed several times."""
        life = max(2, round(_LIFE * min(1.0, seconds / _FULL_RUN)))
        return cls(peakly=life, login_token=life)


@attrs.frozen
class Step:
    """One kind of token: how long it lives, and how many were asked for.

    Attributes:
        name: The system's name and its own name of the step.
        lifetime: Seconds that its tokens live on the server.
        stated: Seconds that the server says they live.
        requested: Token requests so far.
    """

    name: str
    lifetime: float
    stated: float
    requested: int


@attrs.frozen
class Row:
    """A manager's line in the table.

    Attributes:
        name: The system's name, and the step of a chain's other managers.
        state: ``fresh``, ``stale``, ``spent`` or ``empty``.
        seconds_left: For which its token is usable; ``None`` = it has none.
        refreshes: How many tokens it obtained.
        failed_tries: How many tries to obtain one failed.
        requests: API requests with its token; ``None`` = it serves the chain alone, as in the next three.
        failed: Those that failed.
        typical: The median latency since the last row, in seconds.
        slowest: The longest.
    """

    name: str
    state: str
    seconds_left: float | None
    refreshes: int
    failed_tries: int
    requests: int | None = None
    failed: int | None = None
    typical: float | None = None
    slowest: float | None = None


class Scene:
    """The managers of both systems, and what is counted of each.

    Args:
        sandbox: A running one. Its lifetimes are set here.
        lives: How long tokens live.
    """

    def __init__(self, sandbox: Sandbox, lives: Lives) -> None:
        self.sandbox = sandbox
        self.lives = lives
        sandbox.peakly.configure(lifetime=lives.peakly)
        sandbox.pago_facil.configure(
            login_lifetime=lives.login,
            create_token_lifetime=lives.create_token,
            login_token_lifetime=lives.login_token,
        )
        name, password = sandbox.username, sandbox.password
        self.peakly = TokenManager(Peakly(username=name, password=password, base_url=sandbox.peakly.url))
        self.pago_facil = TokenManager(
            PagoFacilJWT.from_password(username=name, password=password, base_url=sandbox.pago_facil.url)
        )
        self.managers = (self.peakly, self.pago_facil)
        self.tallies = (
            Tally("Peakly", f"{sandbox.peakly.url}/api/Ventas/Clientes/Page"),
            Tally("Pago Fácil", f"{sandbox.pago_facil.url}/api/transactions"),
        )

    def steps(self) -> list[list[Step]]:
        """Return each system's kinds of tokens, the API's own first."""
        lives, peakly, pago = self.lives, self.sandbox.peakly.counts, self.sandbox.pago_facil.counts.by_step
        return [
            [Step("Peakly token", lives.peakly, lives.peakly - 1, peakly.token_requests)],
            [
                Step(f"Pago Fácil {name}", life, life, pago[name])
                for name, life in (
                    ("loginToken", lives.login_token),
                    ("createToken", lives.create_token),
                    ("login", lives.login),
                )
            ],
        ]

    def rows(self) -> list[Row]:
        """Return a line for each manager, those of the chain's other steps included."""
        rows: list[Row] = []
        for manager, tally in zip(self.managers, self.tallies, strict=True):
            recent = tally.recent()
            row = _row(tally.name, manager)
            rows.append(
                attrs.evolve(
                    row,
                    requests=tally.requests,
                    failed=tally.failed,
                    typical=quantile(recent, 0.5),
                    slowest=recent[-1] if recent else None,
                )
            )
        create_token = self.pago_facil._owned[0]
        rows.append(_row("  └ createToken", create_token))
        rows.append(_row("    └ login", create_token._owned[0]))
        return rows


def _row(name: str, manager: TokenManager) -> Row:
    status = manager.status()
    return Row(name, status.state, status.seconds_left, status.refreshes, status.failures)
