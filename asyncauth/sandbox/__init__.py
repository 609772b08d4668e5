"""Pago Fácil and Peakly on loopback, with faults on demand: real sockets for tests, demos and development."""

from __future__ import annotations

from .counts import Counts, Record
from .faults import Fault
from .ledger import Living
from .pago_facil import PagoFacilSandbox
from .peakly import PeaklySandbox
from .plan import FaultPlan
from .server import Sandbox
from .settings import DEFAULT_PASSWORD, DEFAULT_USERNAME, PagoFacilSettings, PeaklySettings
from .threaded import sandbox_in_thread

__all__ = [
    "DEFAULT_PASSWORD",
    "DEFAULT_USERNAME",
    "Counts",
    "Fault",
    "FaultPlan",
    "Living",
    "PagoFacilSandbox",
    "PagoFacilSettings",
    "PeaklySandbox",
    "PeaklySettings",
    "Record",
    "Sandbox",
    "sandbox_in_thread",
]
