"""What holds for the windows of any lifetime."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from asyncauth import RefreshPolicy

lifetimes = st.floats(min_value=1e-3, max_value=1e10)
draws = st.floats(min_value=0.0, max_value=1.0)
durations = st.floats(min_value=0.0, max_value=1e6)
policies = st.builds(
    RefreshPolicy,
    renew_at=st.floats(min_value=0.5, max_value=1.0),
    jitter=st.floats(min_value=0.0, max_value=0.05),
    expiry_margin=st.floats(min_value=0.0, max_value=1e6) | st.just(math.inf),
)


@given(policies, lifetimes, durations, draws)
def test_windows_lie_between_half_the_lifetime_and_its_end(
    policy: RefreshPolicy, lifetime: float, slowest: float, draw: float
) -> None:
    """Half the lifetime ≤ renewal ≤ end of use ≤ end of the lifetime, and at most a tenth of it is given away."""
    windows = policy.windows(lifetime, slowest=slowest, unit_random=draw)
    assert 0.5 * lifetime <= windows.fresh <= windows.usable <= lifetime
    assert windows.usable >= 0.9 * lifetime * (1 - 1e-12)
    assert windows.usable >= lifetime - policy.expiry_margin - lifetime * 1e-12


@given(policies, lifetimes, durations, draws)
def test_jitter_and_slowness_only_make_it_earlier(
    policy: RefreshPolicy, lifetime: float, slowest: float, draw: float
) -> None:
    """Neither luck nor a slow endpoint delays a renewal, and luck takes 5 % of the lifetime at most."""
    usual = policy.windows(lifetime)
    slow = policy.windows(lifetime, slowest=slowest)
    both = policy.windows(lifetime, slowest=slowest, unit_random=draw)
    assert both.fresh <= slow.fresh <= usual.fresh <= policy.renew_at * lifetime
    assert slow.fresh - both.fresh <= 0.05 * lifetime * (1 + 1e-9)
    assert usual.usable == slow.usable == both.usable


@given(policies, lifetimes, durations)
def test_slow_refresh_ends_in_time_where_it_can(policy: RefreshPolicy, lifetime: float, slowest: float) -> None:
    """A refresh as slow as the slowest ends before the token does, unless it would have to start before half."""
    windows = policy.windows(lifetime, slowest=slowest)
    assert windows.fresh + slowest <= windows.usable * (1 + 1e-12) or windows.fresh == 0.5 * lifetime
