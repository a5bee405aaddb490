"""A Flask backend that app installations reach, and nobody else.

JWKS=https://pins.example.com/v1/acme/jwks.json flask --app backend_flask run
"""

import os

from flask import Flask, request
from livepin.middleware.check import TokenCheck
from livepin.middleware.wsgi import TokenMiddleware

check = TokenCheck(audience="api.example.com", jwks=os.environ["JWKS"], exempt=["/healthz"])

app = Flask(__name__)
app.wsgi_app = TokenMiddleware(app.wsgi_app, check)


@app.get("/")
def hello() -> str:
    return request.environ["livepin.token"].installation


@app.get("/healthz")
def healthz() -> str:
    return "well"
