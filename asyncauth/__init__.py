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
from asyncauth.pool import ManagerPool
from asyncauth.provider import Provider
from asyncauth.providers.declared import DeclaredProvider
from asyncauth.providers.device_code import DeviceCode, DevicePrompt
from asyncauth.providers.grants import ClientCredentials, PasswordGrant
from asyncauth.providers.jwt_bearer import JWTBearer
from asyncauth.providers.pago_facil import PagoFacil, PagoFacilJWT, PagoFacilLogin
from asyncauth.providers.peakly import Peakly
from asyncauth.providers.refresh_grant import RefreshGrant
from asyncauth.providers.token_exchange import TokenExchange
from asyncauth.session import client_session, wrap_session
from asyncauth.status import PoolStatus, Status
from asyncauth.token import Token

__all__ = [
    "AuthError",
    "BearerAuth",
    "ClientCredentials",
    "Clock",
    "ConfigurationError",
    "CredentialsRejected",
    "DeclaredProvider",
    "DeviceCode",
    "DevicePrompt",
    "InsecureTransport",
    "InvalidTokenResponse",
    "JWTBearer",
    "LockTimeout",
    "ManagerClosed",
    "ManagerPool",
    "PagoFacil",
    "PagoFacilJWT",
    "PagoFacilLogin",
    "PasswordGrant",
    "Peakly",
    "PoolStatus",
    "Provider",
    "RefreshGrant",
    "RefreshPolicy",
    "Status",
    "StoreError",
    "Token",
    "TokenEndpointUnavailable",
    "TokenExchange",
    "TokenManager",
    "client_session",
    "wrap_session",
]
