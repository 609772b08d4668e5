"""The contract's numbers, at their edges."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest

from asyncauth import ConfigurationError, RefreshPolicy
from asyncauth.policy import Windows

POLICY = RefreshPolicy()
DAY = 86_400.0


@pytest.mark.parametrize(
    ("lifetime", "fresh", "usable"),
    [
        (0.5, 0.4, 0.45),
        (2.0, 1.6, 1.8),
        (99.0, 79.2, 89.1),
        (100.0, 80.0, 90.0),
        (101.0, 80.8, 91.0),
        (240.0, 192.0, 230.0),
        (3600.0, 2880.0, 3590.0),
        (14 * DAY, 11.2 * DAY, 14 * DAY - 10),
    ],
)
def test_windows_follow_the_lifetime(lifetime: float, fresh: float, usable: float) -> None:
    """Renewal at 80 %; the end 10 s early, but never by more than a tenth of the lifetime."""
    windows = POLICY.windows(lifetime)
    assert windows.fresh == pytest.approx(fresh)
    assert windows.usable == pytest.approx(usable)


def test_unknown_lifetime_has_no_windows() -> None:
    """What lives for an unknown time is neither renewed nor spent by the clock."""
    assert POLICY.windows(None) == Windows(math.inf, math.inf)


@pytest.mark.parametrize(("draw", "fresh"), [(0.0, 80.0), (0.5, 77.5), (1.0, 75.0)])
def test_jitter_only_makes_it_earlier(draw: float, fresh: float) -> None:
    """Jitter brings a renewal forward by 5 % of the lifetime at most."""
    assert POLICY.windows(100.0, unit_random=draw).fresh == pytest.approx(fresh)


@pytest.mark.parametrize(
    ("slowest", "fresh"), [(0.0, 80.0), (8.0, 80.0), (10.0, 78.0), (25.0, 60.0), (34.0, 50.0), (1000.0, 50.0)]
)
def test_slow_endpoint_is_asked_earlier_but_never_before_half(slowest: float, fresh: float) -> None:
    """Renewal starts so early that a refresh as slow as the slowest ends in time, at half the lifetime at the least."""
    assert POLICY.windows(100.0, slowest=slowest).fresh == pytest.approx(fresh)
    assert POLICY.windows(100.0, slowest=slowest, unit_random=1.0).fresh >= 50.0


@pytest.mark.parametrize(("slowest", "fresh"), [(0.0, 90.0), (8.0, 82.0), (40.0, 50.0), (41.0, 50.0), (1000.0, 50.0)])
def test_a_token_given_again_is_renewed_as_late_as_the_endpoint_allows(slowest: float, fresh: float) -> None:
    """Renewal starts so early that a request as slow as the slowest ends in time, at half the lifetime at the least."""
    windows = POLICY.windows_again(100.0, slowest=slowest)
    assert windows.fresh == pytest.approx(fresh)
    assert windows.usable == 90.0


def test_a_token_given_again_by_an_endpoint_that_takes_no_time() -> None:
    """By default no request is expected to take any time: renewal is due at the end of use."""
    assert POLICY.windows_again(100.0) == Windows(90.0, 90.0)
    assert POLICY.windows_again(None) == Windows(math.inf, math.inf)


def test_margin_can_be_none_at_all() -> None:
    """``expiry_margin=0``: used to the end; zero is data."""
    assert RefreshPolicy(expiry_margin=0).windows(100.0).usable == 100.0


def test_renewal_is_never_due_after_the_end() -> None:
    """``renew_at=1``: renewal is due when the token is spent, not later."""
    windows = RefreshPolicy(renew_at=1.0).windows(100.0)
    assert windows.fresh == windows.usable == 90.0


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("renew_at", [0.5, 0.8, 1, 1.0], [0.499, 1.001, 0, -1]),
        ("jitter", [0, 0.05], [-0.001, 0.051]),
        ("expiry_margin", [0, 10, math.inf], [-0.001]),
        ("deadline", [0.001, 30], [0, -1]),
        ("rejection_cooldown", [0.1, 60], [0, 0.099, -1]),
        ("idle_timeout", [0, None, 3600], [-1]),
        ("backoff", [0.001], [0]),
        ("backoff_limit", [0.001], [0]),
        ("close_grace", [0], [-1]),
        ("refusal_cooldown", [0.1, 5], [0, 0.09]),
        ("refusal_cooldown_limit", [0.1, 60], [0, 0.09]),
    ],
)
def test_settings_have_ranges(name: str, good: list[Any], bad: list[Any]) -> None:
    """Each setting accepts its range, ends included. Other values, and values that are not numbers, are refused."""
    for value in good:
        assert getattr(attrs.evolve(POLICY, **{name: value}), name) == value
    for value in [*bad, math.nan, 10**400, "1", True, [], *([] if name == "idle_timeout" else [None])]:
        with pytest.raises(ConfigurationError, match=name):
            attrs.evolve(POLICY, **{name: value})


def test_policy_is_frozen_and_by_name_only() -> None:
    """A policy may be shared between managers, and reads as what it says."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        POLICY.jitter = 0.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        RefreshPolicy(0.8)  # type: ignore[call-arg]
    assert RefreshPolicy() == RefreshPolicy()


def test_the_defaults() -> None:
    """What the documentation says is what there is."""
    assert attrs.asdict(RefreshPolicy()) == {
        "renew_at": 0.8,
        "jitter": 0.05,
        "expiry_margin": 10.0,
        "deadline": 30.0,
        "rejection_cooldown": 60.0,
        "idle_timeout": 3600.0,
        "backoff": 0.25,
        "backoff_limit": 15.0,
        "refusal_cooldown": 5.0,
        "refusal_cooldown_limit": 60.0,
        "store_timeout": 1.0,
        "close_grace": 2.0,
    }


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("renew_at", 0.5),
        ("jitter", 0.0),
        ("expiry_margin", 0.0),
        ("deadline", 0.001),
        ("rejection_cooldown", 0.1),
        ("idle_timeout", 0.0),
        ("backoff", 0.001),
        ("backoff_limit", 0.001),
        ("refusal_cooldown", 0.1),
        ("refusal_cooldown_limit", 0.1),
        ("store_timeout", 0.001),
        ("close_grace", 0.0),
    ],
)
def test_the_least_of_each(name: str, least: float) -> None:
    """The smallest value of each setting works, the next smaller one is refused by name."""
    assert getattr(RefreshPolicy(**{name: least}), name) == least
    with pytest.raises(ConfigurationError, match=f"{name}="):
        RefreshPolicy(**{name: math.nextafter(least, -1.0)})
