"""Pago Fácil and Peakly on loopback, with faults on demand: real sockets for tests, demos and development."""

from __future__ import annotations

from asyncauth.sandbox.counts import Counts, Record
from asyncauth.sandbox.details import Details, Shown
from asyncauth.sandbox.faults import Fault
from asyncauth.sandbox.ledger import Living
from asyncauth.sandbox.pago_facil import PagoFacilSandbox
from asyncauth.sandbox.peakly import PeaklySandbox
from asyncauth.sandbox.plan import FaultPlan
from asyncauth.sandbox.server import Sandbox
from asyncauth.sandbox.settings import DEFAULT_PASSWORD, DEFAULT_USERNAME, PagoFacilSettings, PeaklySettings
from asyncauth.sandbox.threaded import sandbox_in_thread

__all__ = [
    "DEFAULT_PASSWORD",
    "DEFAULT_USERNAME",
    "Counts",
    "Details",
    "Fault",
    "FaultPlan",
    "Living",
    "PagoFacilSandbox",
    "PagoFacilSettings",
    "PeaklySandbox",
    "PeaklySettings",
    "Record",
    "Sandbox",
    "Shown",
    "sandbox_in_thread",
]
