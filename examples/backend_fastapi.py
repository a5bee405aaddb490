"""A FastAPI backend that app installations reach, and nobody else.

JWKS=https://pins.example.com/v1/acme/jwks.json uvicorn backend_fastapi:app
"""

import os

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse
from livepin.middleware.asgi import TokenMiddleware
from livepin.middleware.check import TokenCheck

check = TokenCheck(audience="api.example.com", jwks=os.environ["JWKS"], exempt=["/healthz"])

app = FastAPI()
app.add_middleware(TokenMiddleware, check=check)


@app.get("/", response_class=PlainTextResponse)
def hello(request: Request) -> str:
    return request.state.livepin.installation


@app.get("/healthz", response_class=PlainTextResponse)
def healthz() -> str:
    return "well"
