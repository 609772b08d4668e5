"""An authorization server of Authlib's on loopback: a process that prints its address, and serves until it is killed.

Environment: ``CLIENTS``, a JSON object from a client's id to its ``secret``, ``auth``, ``grants`` and perhaps ``key``,
a public JWK.
"""

from __future__ import annotations

import json
import os
import secrets
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from flask import Flask, request
from joserfc.jwk import import_key

CLIENTS: dict[str, dict[str, Any]] = json.loads(os.environ["CLIENTS"])


class Client(ClientMixin):
    """A client that was registered before the start."""

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id
        self.known = CLIENTS[client_id]

    def get_client_id(self) -> str:
        return self.client_id

    def get_allowed_scope(self, scope: str | None) -> str:
        return scope or "read"

    def check_client_secret(self, client_secret: str) -> bool:
        return secrets.compare_digest(client_secret.encode(), self.known["secret"].encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return bool(method == self.known["auth"])

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.known["grants"]


class Token(TokenMixin):
    """A token that was issued."""

    def __init__(self, client: Client, fields: dict[str, Any]) -> None:
        self.client = client
        self.fields = fields

    def check_client(self, client: Client) -> bool:
        return self.client.client_id == client.client_id

    def get_scope(self) -> str:
        return str(self.fields.get("scope", ""))


REFRESHABLE: dict[str, Token] = {}
ISSUED: dict[str, Token] = {}
"""By access token."""


class PasswordGrant(grants.ResourceOwnerPasswordCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post", "none")

    def authenticate_user(self, username: str, password: str) -> str | None:
        return username if password == os.environ["PASSWORD"] else None


class RefreshTokenGrant(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post", "none")
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> Token | None:
        return REFRESHABLE.get(refresh_token)

    def authenticate_user(self, refresh_token: Token) -> str:
        return "ana"

    def revoke_old_credential(self, refresh_token: Token) -> None:
        del REFRESHABLE[refresh_token.fields["refresh_token"]]


class ClientCredentialsGrant(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = (
        "client_secret_basic",
        "client_secret_post",
        JWTBearerClientAssertion.CLIENT_AUTH_METHOD,
    )


class Assertion(JWTBearerClientAssertion):
    def get_audiences(self) -> list[str]:
        return [request.base_url]  # the token endpoint alone, as Authlib's documentation has it

    def validate_jti(self, claims: Any, jti: str) -> bool:
        return True

    def resolve_client_public_key(self, client: Client, *_: Any) -> Any:
        return import_key(client.known["key"])


class Revocation(RevocationEndpoint):
    CLIENT_AUTH_METHODS = (
        "client_secret_basic",
        "client_secret_post",
        JWTBearerClientAssertion.CLIENT_AUTH_METHOD,
    )

    def query_token(self, token_string: str, token_type_hint: str | None) -> Token | None:
        return REFRESHABLE.get(token_string) or ISSUED.get(token_string)

    def revoke_token(self, token: Token, request: Any) -> None:
        REFRESHABLE.pop(token.fields.get("refresh_token", ""), None)
        if request.form["token_type_hint"] == "access_token":
            del ISSUED[token.fields["access_token"]]


def save_token(token: dict[str, Any], oauth_request: Any) -> None:
    ISSUED[token["access_token"]] = Token(oauth_request.client, token)
    if "refresh_token" in token:
        REFRESHABLE[token["refresh_token"]] = Token(oauth_request.client, token)


def token_generator(*_: Any, include_refresh_token: bool = True, **__: Any) -> str:
    return secrets.token_urlsafe(24)


def main() -> None:
    app = Flask("authlib")
    app.config.update(
        OAUTH2_REFRESH_TOKEN_GENERATOR=True, OAUTH2_TOKEN_EXPIRES_IN={"client_credentials": 60, "password": 60}
    )
    server = AuthorizationServer(
        app, query_client=lambda name: Client(name) if name in CLIENTS else None, save_token=save_token
    )
    for grant in (ClientCredentialsGrant, PasswordGrant, RefreshTokenGrant):
        server.register_grant(grant)
    httpd = make_server("127.0.0.1", 0, app, handler_class=Quiet)
    url = f"http://127.0.0.1:{httpd.server_port}"
    server.register_endpoint(Revocation)
    server.register_client_auth_method(JWTBearerClientAssertion.CLIENT_AUTH_METHOD, Assertion())

    @app.post("/token")
    def token() -> Any:
        return server.create_token_response()

    @app.post("/revoke")
    def revoke() -> Any:
        return server.create_endpoint_response("revocation")

    @app.get("/api")
    def api() -> Any:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return ("", 200 if scheme == "Bearer" and token in ISSUED else 401)

    print(url, flush=True)
    httpd.serve_forever()


class Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Requests are not logged."""


if __name__ == "__main__":
    main()
