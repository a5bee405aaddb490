"""A Django backend that app installations reach, and nobody else; in one file, as an example.

JWKS=https://pins.example.com/v1/acme/jwks.json uvicorn backend_django:application
"""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["livepin.middleware.django.TokenMiddleware"],
    LIVEPIN_AUDIENCE="api.example.com",
    LIVEPIN_JWKS=os.environ["JWKS"],
    LIVEPIN_EXEMPT=["/healthz"],
)


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.livepin.installation, content_type="text/plain")


def healthz(_: HttpRequest) -> HttpResponse:
    return HttpResponse("well", content_type="text/plain")


urlpatterns = [path("", hello), path("healthz", healthz)]
application = get_asgi_application()
