"""What tests of code that uses asyncauth need: a clock they move, a provider they command, a suite for stores."""

from asyncauth.testing.clock import FakeClock
from asyncauth.testing.conformance import StoreConformance
from asyncauth.testing.provider import FakeProvider

__all__ = ["FakeClock", "FakeProvider", "StoreConformance"]
