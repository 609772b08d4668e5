"""asyncauth: bearer tokens for asyncio and aiohttp, kept fresh."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

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
from asyncauth.provider import Provider, ProviderOptions, RevokingProvider
from asyncauth.session import client_session, wrap_session
from asyncauth.token import Token

if _TYPE_CHECKING:
    from asyncauth._core.blocking import Blocking
    from asyncauth._core.request_context import RequestContext, current_request_context
    from asyncauth.pool import ManagerPool
    from asyncauth.providers.declared import DeclaredProvider
    from asyncauth.providers.oauth2.device_code import DeviceCode, DevicePrompt
    from asyncauth.providers.oauth2.grants import ClientCredentials, PasswordGrant
    from asyncauth.providers.oauth2.jwt_bearer import JWTBearer
    from asyncauth.providers.oauth2.oauth_options import OAuthOptions
    from asyncauth.providers.oauth2.refresh_grant import RefreshGrant
    from asyncauth.providers.oauth2.token_exchange import TokenExchange
    from asyncauth.providers.pago_facil import PagoFacil, PagoFacilJWT, PagoFacilLogin
    from asyncauth.providers.peakly import Peakly
    from asyncauth.providers.refresh_request import RefreshRequest
    from asyncauth.providers.wire.answer_fields import AnswerFields
    from asyncauth.providers.wire.error_fields import ErrorFields
    from asyncauth.status import PoolStatus, Revocation, Status, TokenRevocation

__all__ = [
    "AnswerFields",
    "AuthError",
    "BearerAuth",
    "Blocking",
    "ClientCredentials",
    "Clock",
    "ConfigurationError",
    "CredentialsRejected",
    "DeclaredProvider",
    "DeviceCode",
    "DevicePrompt",
    "ErrorFields",
    "InsecureTransport",
    "InvalidTokenResponse",
    "JWTBearer",
    "LockTimeout",
    "ManagerClosed",
    "ManagerPool",
    "OAuthOptions",
    "PagoFacil",
    "PagoFacilJWT",
    "PagoFacilLogin",
    "PasswordGrant",
    "Peakly",
    "PoolStatus",
    "Provider",
    "ProviderOptions",
    "RefreshGrant",
    "RefreshPolicy",
    "RefreshRequest",
    "RequestContext",
    "Revocation",
    "RevokingProvider",
    "Status",
    "StoreError",
    "Token",
    "TokenEndpointUnavailable",
    "TokenExchange",
    "TokenManager",
    "TokenRevocation",
    "client_session",
    "current_request_context",
    "wrap_session",
]

# Imported on first use: few programs need all of them, and together they take as long to import as all the rest.
_LATER = {
    "Blocking": "asyncauth._core.blocking",
    "RequestContext": "asyncauth._core.request_context",
    "current_request_context": "asyncauth._core.request_context",
    "ManagerPool": "asyncauth.pool",
    "DeclaredProvider": "asyncauth.providers.declared",
    "DeviceCode": "asyncauth.providers.oauth2.device_code",
    "DevicePrompt": "asyncauth.providers.oauth2.device_code",
    "ClientCredentials": "asyncauth.providers.oauth2.grants",
    "PasswordGrant": "asyncauth.providers.oauth2.grants",
    "JWTBearer": "asyncauth.providers.oauth2.jwt_bearer",
    "OAuthOptions": "asyncauth.providers.oauth2.oauth_options",
    "PagoFacil": "asyncauth.providers.pago_facil",
    "PagoFacilJWT": "asyncauth.providers.pago_facil",
    "PagoFacilLogin": "asyncauth.providers.pago_facil",
    "Peakly": "asyncauth.providers.peakly",
    "AnswerFields": "asyncauth.providers.wire.answer_fields",
    "ErrorFields": "asyncauth.providers.wire.error_fields",
    "RefreshRequest": "asyncauth.providers.refresh_request",
    "RefreshGrant": "asyncauth.providers.oauth2.refresh_grant",
    "TokenExchange": "asyncauth.providers.oauth2.token_exchange",
    "PoolStatus": "asyncauth.status",
    "Revocation": "asyncauth.status",
    "Status": "asyncauth.status",
    "TokenRevocation": "asyncauth.status",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(_import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
