"""A person approves on another device (RFC 8628), at a server that nobody here wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import oidc_kit
import pytest
from core_kit import engine_of

from asyncauth import CredentialsRejected, DeviceCode, DevicePrompt, TokenManager
from asyncauth.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def oidc() -> Iterator[oidc_kit.Oidc]:
    with oidc_kit.serving() as server:
        yield server


class Quick(FakeClock):
    """A clock whose sleeps take no time."""

    async def sleep(self, seconds: float) -> None:
        if seconds < 100:
            self._now += seconds
        else:
            await super().sleep(seconds)


def device(oidc: oidc_kit.Oidc, show: Callable[[DevicePrompt], object]) -> TokenManager:
    provider = DeviceCode(
        issuer=oidc.issuer, client_id="public-client", client_auth="none", scope=oidc_kit.SCOPE, show=show
    )
    return TokenManager(provider, clock=Quick())


async def test_a_person_is_asked_once(oidc: oidc_kit.Oidc) -> None:
    """The code is shown, polled for, approved; later renewals use the refresh token and ask nobody."""
    prompts: list[DevicePrompt] = []

    async def show(prompt: DevicePrompt) -> None:
        prompts.append(prompt)
        oidc.order("approve", user_code=prompt.user_code)

    manager = device(oidc, show)
    token = await manager.token()
    assert token.refresh_token
    assert token.scope == oidc_kit.SCOPE
    renewed = await manager.refresh()
    assert renewed.refresh_token != token.refresh_token
    (prompt,) = prompts
    assert prompt.verification_uri == f"{oidc.issuer}/device"
    assert prompt.user_code in (prompt.verification_uri_complete or "")
    assert 0 < prompt.expires_in <= 60


async def test_it_is_polled_until_somebody_approves(oidc: oidc_kit.Oidc) -> None:
    """``authorization_pending`` does not count as a rejection."""
    polls = 0

    class Slow(Quick):
        async def sleep(self, seconds: float) -> None:
            nonlocal polls
            if seconds < 100:
                polls += 1
                if polls == 3:
                    oidc.order("approve", user_code=prompts[0].user_code)
            await super().sleep(seconds)

    prompts: list[DevicePrompt] = []
    manager = device(oidc, prompts.append)
    engine_of(manager).runtime = attrs.evolve(engine_of(manager).runtime, clock=Slow())
    assert (await manager.token()).value
    assert polls == 3
    assert manager.status().failures == 0


async def test_a_person_says_no(oidc: oidc_kit.Oidc) -> None:
    """``access_denied`` ends it, and nobody is asked again for a while."""
    prompts: list[DevicePrompt] = []

    def show(prompt: DevicePrompt) -> None:
        prompts.append(prompt)
        oidc.order("deny", user_code=prompt.user_code)

    manager = device(oidc, show)
    for _ in range(3):
        with pytest.raises(CredentialsRejected) as caught:
            await manager.token()
        assert caught.value.error == "access_denied"
    assert len(prompts) == 1


async def test_nobody_approves_in_time(oidc: oidc_kit.Oidc) -> None:
    """When the code has expired, so has the refresh."""
    manager = device(oidc, lambda prompt: None)
    with pytest.raises(CredentialsRejected) as caught:
        await manager.token()
    assert caught.value.error == "expired_token"
    assert caught.value.step == "token"
