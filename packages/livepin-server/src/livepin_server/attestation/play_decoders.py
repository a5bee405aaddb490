"""Who opens tokens of Play Integrity: this server, by the keys of the app, or Google.

Here it takes no network, but needs keys that only classic requests use. Google opens all; it is
asked for each token, so its quota is the app's, and while it does not answer nothing is proved.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from joserfc import jwe, jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, RSAKey
from livepin import jsontext
from livepin.errors import MalformedError

from .asking import Answer, AskError, Asking
from .attested import EvidenceError
from .play import Decoder, PlayApp

API = "https://playintegrity.googleapis.com"
TOKENS = "https://oauth2.googleapis.com/token"

_OPENED_BY, _SIGNED_BY = ["A256KW", "A256GCM"], ["ES256"]  # no `zip`: it may expand without end
_SCOPE = "https://www.googleapis.com/auth/playintegrity"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"  # RFC 7523
_MOST_ANSWER = 64 * 1024
_MOST_LEVELS = 16  # of a payload, whose new members nobody can foresee
_ASSERTION = timedelta(hours=1)
_EARLY = timedelta(minutes=1)  # before it ends a new access token is fetched
_PAUSE = timedelta(seconds=10)  # after no answer, so that requests do not queue for more of them
_STATUS = re.compile(r"[A-Z_]{1,40}\Z")
_CREDENTIAL = re.compile(r"[!-~]{1,8192}\Z")

Clock = Callable[[], datetime]


def decoder(app: PlayApp, *, clock: Clock) -> Decoder:
    """Return who opens tokens of an app, as it is registered."""
    return LocalDecoder(app) if app.service_account is None else GoogleDecoder(app, clock=clock)


class LocalDecoder:
    """Opens tokens by the keys of an app."""

    def __init__(self, app: PlayApp) -> None:
        opens, verifies = app.keys()
        self._opens = OctKey.import_key(opens)
        self._verifies = ECKey.import_key(verifies)

    def decode(self, token: str) -> Mapping[str, Any]:
        """Return the payload of a JWS by Google in a JWE to the app."""
        try:
            inner = jwe.decrypt_compact(token, self._opens, algorithms=_OPENED_BY).plaintext
        except (JoseError, ValueError, TypeError, KeyError) as exc:
            raise EvidenceError("decryption", "the decryption key does not open it") from exc
        try:
            payload = jws.deserialize_compact(
                inner or b"", self._verifies, algorithms=_SIGNED_BY
            ).payload
        except (JoseError, ValueError, TypeError, KeyError) as exc:
            raise EvidenceError("signature", "the verification key does not verify it") from exc
        return _payload(payload)


class GoogleDecoder:
    """Has Google open tokens, as the service account of an app."""

    def __init__(
        self,
        app: PlayApp,
        *,
        clock: Clock,
        asking: Asking | None = None,
        api: str = API,
        tokens: str = TOKENS,
    ) -> None:
        if app.service_account is None:
            raise ValueError("expected an app with a service account")
        self._account = app.service_account
        self._key = RSAKey.import_key(self._account.private_key)
        self._url = f"{api}/v1/{app.package}:decodeIntegrityToken"
        self._tokens = tokens
        self._clock = clock
        self._asking = asking or Asking()
        self._lock = threading.Lock()
        self._access: tuple[str, datetime] | None = None
        self._silent: datetime | None = None

    def decode(self, token: str) -> Mapping[str, Any]:
        """Return the payload that Google finds in it."""
        access = self._access_token()
        answer = self._ask(
            self._url,
            jsontext.dump({"integrityToken": token}),
            {"content-type": "application/json", "authorization": f"Bearer {access}"},
        )
        if answer.status == 400:
            raise EvidenceError("decryption", "Google does not open it")
        if answer.status == 401:
            self._forget(access)
        _require_ok(answer, "Google")
        found = _payload(answer.body).get("tokenPayloadExternal")
        if not isinstance(found, dict):
            raise EvidenceError("malformed", "expected tokenPayloadExternal in Google's answer")
        return found

    def _access_token(self) -> str:
        with self._lock:  # else every request fetches one when it ends
            now = self._clock()
            if self._access is None or now >= self._access[1] - _EARLY:
                self._access = self._new_access_token(now)
            return self._access[0]

    def _forget(self, access: str) -> None:
        with self._lock:
            if self._access is not None and self._access[0] == access:
                self._access = None

    def _new_access_token(self, now: datetime) -> tuple[str, datetime]:
        body = urlencode({"grant_type": _GRANT, "assertion": self._assertion(now)}).encode()
        fields = {"content-type": "application/x-www-form-urlencoded"}
        answer = self._ask(self._tokens, body, fields)
        _require_ok(answer, "the token endpoint of Google")
        try:
            found = json.loads(answer.body)
            access, lives = found["access_token"], timedelta(seconds=int(found["expires_in"]))
            if not _CREDENTIAL.match(access):
                raise ValueError("not a credential")
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise EvidenceError("unavailable", "expected an access token of Google") from None
        return access, now + min(lives, _ASSERTION)

    def _assertion(self, now: datetime) -> str:
        header = {"alg": "RS256", "typ": "JWT"}
        if self._account.private_key_id:
            header["kid"] = self._account.private_key_id
        claims = {
            "iss": self._account.client_email,
            "scope": _SCOPE,
            "aud": self._tokens,
            "iat": int(now.timestamp()),
            "exp": int((now + _ASSERTION).timestamp()),
        }
        return jwt.encode(header, claims, self._key, algorithms=["RS256"])

    def _ask(self, url: str, body: bytes, fields: Mapping[str, str]) -> Answer:
        silent = self._silent
        if silent is not None and abs(self._clock() - silent) < _PAUSE:
            raise EvidenceError("unavailable", "Google did not answer just now")
        try:
            return self._asking.ask("POST", url, limit=_MOST_ANSWER, headers=fields, body=body)
        except AskError as exc:
            self._silent = self._clock()
            raise EvidenceError("unavailable", f"Google does not answer: {exc}") from exc


def _require_ok(answer: Answer, who: str) -> None:
    if answer.status != 200:
        reason = f"{who} answers {answer.status} {_status(answer.body)}".rstrip()
        raise EvidenceError("unavailable", reason)


def _status(body: bytes) -> str:
    """Return the one word of an error of Google's that tells what is wrong, and quotes nothing."""
    try:
        status = json.loads(body)["error"]["status"]
        return status if _STATUS.match(status) else ""
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""


def _payload(data: bytes | None) -> dict[str, Any]:
    try:
        jsontext.check_depth(data or b"", limit=_MOST_LEVELS)
        return jsontext.parse_object(data or b"")
    except MalformedError as exc:
        raise EvidenceError("malformed", f"the payload: {exc}") from exc
