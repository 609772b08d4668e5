"""asyncauth: bearer tokens for asyncio and aiohttp, kept fresh."""

from asyncauth.clock import Clock
from asyncauth.errors import (
    AuthError,
    ConfigurationError,
    CredentialsRejected,
    InsecureTransport,
    InvalidTokenResponse,
    LockTimeout,
    ManagerClosed,
    StoreError,
    TokenEndpointUnavailable,
)
from asyncauth.manager import TokenManager
from asyncauth.middleware import BearerAuth
from asyncauth.policy import RefreshPolicy
from asyncauth.provider import Provider
from asyncauth.providers.pago_facil import PagoFacil, PagoFacilJWT, PagoFacilLogin
from asyncauth.providers.peakly import Peakly
from asyncauth.session import client_session, wrap_session
from asyncauth.status import Status
from asyncauth.token import Token

__all__ = [
    "AuthError",
    "BearerAuth",
    "Clock",
    "ConfigurationError",
    "CredentialsRejected",
    "InsecureTransport",
    "InvalidTokenResponse",
    "LockTimeout",
    "ManagerClosed",
    "PagoFacil",
    "PagoFacilJWT",
    "PagoFacilLogin",
    "Peakly",
    "Provider",
    "RefreshPolicy",
    "Status",
    "StoreError",
    "Token",
    "TokenEndpointUnavailable",
    "TokenManager",
    "client_session",
    "wrap_session",
]
