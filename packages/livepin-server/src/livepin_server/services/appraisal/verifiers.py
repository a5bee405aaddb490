"""`Verifiers`: each piece of evidence to its verifier, with the keys that this one keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any, TypeVar

import msgspec

from livepin_server.attestation import android, apple, measured, play, play_decoders, workload
from livepin_server.attestation.apple import AttestedKey
from livepin_server.attestation.attested import Asked, Attested, EvidenceError
from livepin_server.attestation.issuer_keys import IssuerKeySource
from livepin_server.attestation.play import Decoder
from livepin_server.attestation.registered import Registered
from livepin_server.attestation.revoked import Revoked

_MOST_KEPT = 256  # sources of keys, and decoders
_KEYS_TIME = 5.0  # seconds to wait for the keys of an issuer
_K = TypeVar("_K")

# Of a process itself, which takes no time; and of platforms and hardware, which does.
OWN = frozenset({measured.FORMAT})
ASKED = frozenset({play.FORMAT, workload.FORMAT})  # where somebody else may have to be asked
ATTESTED = frozenset({android.FORMAT, apple.FORMAT, play.FORMAT, workload.FORMAT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """What the evidence of devices is believed by; None is what is shipped."""

    android: frozenset[bytes] | None = None
    apple: tuple[Any, ...] | None = None


class Verifiers:
    """Verifies evidence of all formats. `revoked` gives the list of revoked Android keys."""

    def __init__(
        self,
        *,
        clock: Callable[[], datetime],
        revoked: Callable[[], Revoked | None],
        anchors: Anchors | None = None,
    ) -> None:
        self._clock = clock
        self._revoked = revoked
        self._anchors = anchors or Anchors()
        self._sources: dict[bytes, IssuerKeySource] = {}
        self._decoders: dict[bytes, Decoder] = {}
        self._lock = Lock()

    def verify(
        self,
        evidence: Mapping[str, Any],
        asked: Asked,
        app: Registered,
        held: AttestedKey | None = None,
    ) -> tuple[Attested, AttestedKey | None]:
        """Return what a piece of evidence proves, and the key that asserts more of it later.

        `held` is the key that this installation attested before.

        Raises:
            EvidenceError: it proves nothing.
        """
        name = evidence["format"]
        if name == apple.FORMAT:
            return self._apple(evidence, asked, app, held)
        if name == android.FORMAT:
            registered = _registered(app.android, "android")
            revoked, roots = self._revoked(), self._anchors.android
            found = android.verify(evidence, asked, registered, revoked=revoked, roots=roots)
        elif name == play.FORMAT:
            opened = _registered(app.play, "play")
            found = play.verify(evidence, asked, opened, self._decoder(opened))
        elif name == workload.FORMAT:
            found = self._workload(evidence, asked, app)
        else:
            found = measured.verify(evidence, asked, app.releases)
        return found, None

    def _apple(
        self, evidence: Mapping[str, Any], asked: Asked, app: Registered, held: AttestedKey | None
    ) -> tuple[Attested, AttestedKey]:
        registered = _registered(app.apple, "apple")
        if "attestation" in evidence:
            return apple.verify_attestation(evidence, asked, registered, roots=self._anchors.apple)
        if held is None:
            raise EvidenceError("key_id", "expected a key that this installation has attested")
        return apple.verify_assertion(evidence, asked, registered, held)

    def _workload(self, evidence: Mapping[str, Any], asked: Asked, app: Registered) -> Attested:
        registered = _registered(app.workload, "workload")
        kid = workload.read_kid(evidence)
        source = self._kept(self._sources, registered, registered.key_source)
        waiting = source.fetching(kid)
        if waiting is not None:
            _wait(waiting)
        return workload.verify_workload(evidence, asked, registered, source.named(kid))

    def _decoder(self, app: play.PlayApp) -> Decoder:
        return self._kept(
            self._decoders, app, lambda: play_decoders.decoder(app, clock=self._clock)
        )

    def _kept(self, held: dict[bytes, _K], app: msgspec.Struct, make: Callable[[], _K]) -> _K:
        """Return what was made for this app, as long as it is registered alike."""
        key = msgspec.msgpack.encode(app)
        with self._lock:
            found = held.get(key)
            if found is None:
                if len(held) >= _MOST_KEPT:
                    held.clear()
                found = held[key] = make()
        return found


def _registered(identity: _K | None, kind: str) -> _K:
    if identity is None:
        raise EvidenceError("unregistered", f"no {kind} identity of this app is registered")
    return identity


def _wait(fetch: Future[None]) -> None:
    try:
        fetch.result(_KEYS_TIME)
    except NotInTime as exc:
        raise EvidenceError("keys", "the issuer's keys did not come in time") from exc
