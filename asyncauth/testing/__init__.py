"""What tests of code that uses asyncauth need: a clock they move, and a provider they command."""

from asyncauth.testing.clock import FakeClock
from asyncauth.testing.provider import FakeProvider

__all__ = ["FakeClock", "FakeProvider"]
