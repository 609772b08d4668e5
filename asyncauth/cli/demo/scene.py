"""The demo's stage: a sandbox whose tokens live for seconds, and what its servers count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from asyncauth.policy import RefreshPolicy

if TYPE_CHECKING:
    from asyncauth.sandbox import Sandbox

__all__ = ["POLICY", "Lives", "Scene", "Step"]

POLICY = RefreshPolicy(renew_at=0.55)
"""The managers'. At the default of 80 %, tokens of seconds would leave half a second for an outage."""

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


class Scene:
    """Both systems, and the token requests that they count.

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
