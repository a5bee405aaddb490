"""A Starlette backend that app installations reach, and nobody else.

JWKS=https://pins.example.com/v1/acme/jwks.json uvicorn backend_starlette:app
"""

import os

from livepin.middleware.asgi import TokenMiddleware
from livepin.middleware.check import TokenCheck
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

check = TokenCheck(audience="api.example.com", jwks=os.environ["JWKS"], exempt=["/healthz"])


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.state.livepin.installation)


async def healthz(_: Request) -> PlainTextResponse:
    return PlainTextResponse("well")


app = Starlette(routes=[Route("/", hello), Route("/healthz", healthz)])
app.add_middleware(TokenMiddleware, check=check)
