"""What a gateway asks of each request: 204 and who sent it, or 401. `gateway_nginx.conf` uses it.

JWKS=https://pins.example.com/v1/acme/jwks.json uvicorn --port 8001 --lifespan off gateway_check:app
"""

import os
from typing import Any

from livepin.middleware.asgi import TokenMiddleware
from livepin.middleware.check import TokenCheck

check = TokenCheck(audience="api.example.com", jwks=os.environ["JWKS"])


async def let_through(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"livepin-installation", scope["livepin"].installation.encode())]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body"})


app = TokenMiddleware(let_through, check)
