"""An authorization server of django-oauth-toolkit's on loopback: a process that prints its address, and serves.

Environment: ``CLIENTS``, a JSON object from a client's id to its ``secret`` and ``grant``; ``PASSWORD``, ana's.
"""

from __future__ import annotations

import json
import os
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.ModelBackend"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
    OAUTH2_PROVIDER={
        "ACCESS_TOKEN_EXPIRE_SECONDS": 60,
        "PKCE_REQUIRED": False,
        "REFRESH_TOKEN_REUSE_PROTECTION": True,
        "ROTATE_REFRESH_TOKEN": True,
        "SCOPES": {"read": "Reading"},
    },
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],  # which takes no time
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
    USE_TZ=True,
)
django.setup()

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from oauth2_provider.decorators import protected_resource
from oauth2_provider.models import get_application_model
from oauth2_provider.views import RevokeTokenView, TokenView


@protected_resource()
def api(_: HttpRequest) -> HttpResponse:
    return HttpResponse()


urlpatterns = [path("token/", TokenView.as_view()), path("revoke/", RevokeTokenView.as_view()), path("api", api)]


class Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Requests are not logged."""


def main() -> None:
    call_command("migrate", verbosity=0)
    get_user_model().objects.create_user("ana", password=os.environ["PASSWORD"])
    for name, known in json.loads(os.environ["CLIENTS"]).items():
        get_application_model().objects.create(
            name=name,
            client_id=name,
            client_secret=known["secret"],
            client_type="confidential",
            authorization_grant_type=known["grant"],
        )
    httpd = make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Quiet)
    print(f"http://127.0.0.1:{httpd.server_port}", flush=True)
    httpd.serve_forever()


if __name__ == "__main__":
    main()
