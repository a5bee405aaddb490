"""Token requests: as they come, and signed with a known key, so that more than that is tried.

They come to the token service as from delivery, which has no other care for what is in them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from livepin import jsontext, tokens
from livepin.documents import Config
from livepin.documents.token_request import MAX_SIZE, TYP, TokenRequest
from livepin.errors import VerificationError
from livepin.jose import PrivateKey
from livepin.tokens import Algorithm, SigningKey
from livepin_server.delivery.tokens import TokenDesk
from livepin_server.services.appraisal.verdicts import Verdicts
from livepin_server.services.appraisal.verifiers import Verifiers
from livepin_server.services.appraisal.verifying import Verifying
from livepin_server.services.tokens.challenges import Challenges
from livepin_server.services.tokens.issuing import Issuing, Pair, StreamConfig
from livepin_server.services.tokens.recording import Recording
from livepin_server.telemetry.metrics import Metrics

from vectors.source import documents as good
from vectors.source.keys import compact_json, jwk, kid, private_key

from .target import Target

_NOW = datetime.fromtimestamp(good.T0 + good.HOUR, timezone.utc)
_BY, _HOST = "installation 1", "api.example.com"
_CONFIG = good.config_payload(2, domains=[good.domain(token=True)])
_KEY, _DECOY = (
    SigningKey("main", Algorithm.ES256, PrivateKey(private_key(name)))
    for name in ("token 1", "decoy 1")
)
_ISSUING = Issuing(
    account="acme",
    issuer="https://pins.example.com",
    streams={
        "main": StreamConfig(good.config_of(_CONFIG).encode(), Config.parse(compact_json(_CONFIG)))
    },
    keys={"main": (Pair(_NOW, _KEY, _DECOY),)},
    published=(),
    settings={},
    rules={},
    overrides={},
)


def _desk() -> TokenDesk:
    """Return a token service whose one account has a domain that asks for tokens."""
    nowhere: Any = None  # nothing is written down
    recording = Recording(nowhere, Verdicts(nowhere, clock=lambda: _NOW))
    verifiers = Verifiers(clock=lambda: _NOW, revoked=lambda: None)
    desk = TokenDesk(
        Challenges(bytes(32)), Verifying(nowhere, verifiers), recording, Metrics(),
        clock=lambda: _NOW,
    )  # fmt: skip
    desk.replace(_ISSUING)
    return desk


_DESK = _desk()


def _request(raw: bytes) -> None:
    _DESK.challenges = Challenges(bytes(32))  # without what was spent before
    try:
        answer = asyncio.run(_DESK.answer("acme", raw))
    except VerificationError as exc:
        assert 1 <= exc.rule <= 5
        assert exc.reason.isprintable()
        return
    request = TokenRequest.read(raw)
    assert len(raw) <= MAX_SIZE
    assert TokenRequest.parse(request.payload()) == request
    found = json.loads(answer)
    assert found["tokens"] is None  # its challenge cannot be one of this service's
    assert _DESK.challenges.spend(found["challenge"], "acme", request.key.kid, _NOW)
    _answered(request)


def _answered(request: TokenRequest) -> None:
    """Look at what it gets once its challenge is good."""
    found = _ISSUING.answer(request, "", _NOW).tokens or {}
    assert found.keys() == request.hosts.keys() & {_HOST}
    for host, each in found.items():
        claims = tokens.verify(each.token, {"main": _KEY.public()}, audience=host, now=_NOW)
        assert (claims.app, claims.thumbprint) == (request.app, request.key.kid)


def _signed(payload: bytes) -> None:
    _request(good.compact(payload, typ=TYP, by=_BY).encode())


def _payload(**changes: Any) -> bytes:
    members = {
        "account": "acme", "app": "com.example.app", "key": jwk(_BY), "stream": "main",
        "challenge": "AQID", "root_version": 1, "config_version": 1,
        "hosts": [{"host": _HOST, "bind": "A" * 43}, {"host": "b.example.com"}],
        "evidence": [{"format": "x", "value": [1]}],
    }  # fmt: skip
    return jsontext.dump(good.changed(members, changes))


def _payloads() -> Iterator[bytes]:
    yield _payload()
    yield _payload(challenge=good.ABSENT, evidence=good.ABSENT, hosts=[])
    yield _payload(stream="other", critical=[])
    yield _payload(account="other")


def _requests() -> Iterator[bytes]:
    for each in _payloads():
        yield good.compact(each, typ=TYP, by=_BY).encode()
    yield good.compact(_payload(), typ=TYP, by=_BY, head={"kid": kid("config 1")}).encode()


TARGETS = {
    "token_request": Target(run=_request, seeds=_requests),
    "signed_token_request": Target(run=_signed, seeds=_payloads, json=True),
}
