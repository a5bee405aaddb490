"""A Litestar backend that app installations reach, and nobody else.

JWKS=https://pins.example.com/v1/acme/jwks.json uvicorn backend_litestar:app
"""

import os

from litestar import Litestar, Request, get
from litestar.middleware import DefineMiddleware
from livepin.middleware.asgi import TokenMiddleware
from livepin.middleware.check import TokenCheck

check = TokenCheck(audience="api.example.com", jwks=os.environ["JWKS"], exempt=["/healthz"])


@get("/", media_type="text/plain", sync_to_thread=False)
def hello(request: Request) -> str:
    return request.state.livepin.installation


@get("/healthz", media_type="text/plain", sync_to_thread=False)
def healthz() -> str:
    return "well"


app = Litestar([hello, healthz], middleware=[DefineMiddleware(TokenMiddleware, check=check)])
