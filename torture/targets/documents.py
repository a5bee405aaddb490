"""Documents: as they come, and signed with a known key, so that more than signatures is tried."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone

from livepin import jsontext
from livepin.bootstrap import Bootstrap
from livepin.documents import Config, Override, Root, config, override, root
from livepin.errors import MalformedError, VerificationError
from livepin.jose import b64url_decode, parse_compact, parse_general
from livepin.trust import STORE_FORMAT, TrustedState

from vectors.source import documents as good
from vectors.source.keys import compact_json

from .target import Target, of_steps

NOW = datetime.fromtimestamp(good.T0 + good.HOUR, timezone.utc)
BOOTSTRAP = Bootstrap.parse(good.bootstrap())
START = TrustedState.from_bootstrap(BOOTSTRAP)
Step = Callable[[TrustedState, bytes], TrustedState]


def _root(state: TrustedState, raw: bytes) -> TrustedState:
    return state.advance_root(raw)


def _config(state: TrustedState, raw: bytes) -> TrustedState:
    assert len(state.missing_roots(raw)) <= 32  # rule 1
    return state.advance_config(raw)


def _override(state: TrustedState, raw: bytes) -> TrustedState:
    return state.advance_override(raw, thumbprint=good.INSTALLATION, now=NOW)


def _taken_or_refused(step: Step) -> Callable[[bytes], None]:
    def run(raw: bytes) -> None:
        before = START.dump()
        try:
            state = step(START, raw)
        except VerificationError as exc:
            assert 1 <= exc.rule <= 9
            assert START.dump() == before  # rule 10
        else:
            _check(state)

    return run


def _check(state: TrustedState) -> None:
    """Check what holds for every state that came from `START`."""
    assert state.root.version >= START.root.version  # rule 6
    assert state.order >= START.order  # rule 7
    loaded = TrustedState.load(state.dump(), BOOTSTRAP, now=NOW, thumbprint=good.INSTALLATION)
    assert loaded == state
    assert Root.parse(state.root.payload()) == state.root
    assert Config.parse(state.config.payload()) == state.config
    if state.trusted_override is not None:
        found = state.trusted_override.document
        assert Override.parse(found.payload()) == found
        assert found.lifetime <= timedelta(days=7)  # rule 9
    for domain in state.config.domains:
        assert state.config.covers(domain.pattern)


# -- signed with a known key ---------------------------------------------------------------------


def _signed_root(payload: bytes) -> bytes:
    by = [good.signature(payload, name) for name in ("root 1", "root 2")]
    return good.general(payload, by).encode()


def _signed_config(payload: bytes) -> bytes:
    return good.config_of(payload).encode()


def _signed_override(payload: bytes) -> bytes:
    return good.override_of(payload).encode()


def _signed(sign: Callable[[bytes], bytes], step: Step) -> Callable[[bytes], None]:
    run = _taken_or_refused(step)
    return lambda payload: run(sign(payload))


def _payloads(do: str, one: bytes) -> Callable[[], Iterator[bytes]]:
    def seeds() -> Iterator[bytes]:
        yield one
        for raw in of_steps(do):
            try:
                encoded = (
                    json.loads(raw)["payload"].encode() if do == "root" else raw.split(b".")[1]
                )
                yield b64url_decode(encoded)
            except (ValueError, LookupError, TypeError, AttributeError, MalformedError):
                continue  # a vector of what is no JWS

    return seeds


# -- bootstrap, store ----------------------------------------------------------------------------


def _bootstrap(text: bytes) -> None:
    try:
        found = Bootstrap.parse(text)
    except MalformedError:
        return
    assert Bootstrap.parse(found.to_json()) == found
    assert Bootstrap.parse(found.to_text()) == found
    try:
        state = TrustedState.from_bootstrap(found)
    except VerificationError:
        return
    assert TrustedState.load(state.dump(), found, now=NOW) == state


def _stored(data: bytes) -> None:
    try:
        state = TrustedState.load(data, BOOTSTRAP, now=NOW, thumbprint=good.INSTALLATION)
    except VerificationError:
        return
    _check(state)


def _stores() -> Iterator[bytes]:
    later = START.advance_root(good.root(2).encode())
    yield START.dump()
    yield later.dump()
    yield later.advance_config(good.config(2, root_version=2).encode()).dump()
    yield _override(START, good.override().encode()).dump()
    yield json.dumps({"format": STORE_FORMAT, "roots": []}).encode()


# -- JWS, JSON -----------------------------------------------------------------------------------


def _jws(raw: bytes) -> None:
    for parse, typ in ((parse_compact, config.TYP), (parse_general, root.TYP)):
        try:
            found = parse(raw, typ=typ)
        except MalformedError:
            continue
        assert len(found.payload) <= len(raw)
        assert 1 <= len(found.signatures) <= 32


def _json(data: bytes) -> None:
    try:
        jsontext.check_depth(data)
        found = jsontext.parse_object(data)
    except MalformedError:
        return
    assert _depth(found) <= jsontext.MAX_DEPTH
    assert jsontext.parse_object(jsontext.dump(found)) == found


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


TARGETS = {
    "root": Target(run=_taken_or_refused(_root), seeds=lambda: of_steps("root")),
    "config": Target(run=_taken_or_refused(_config), seeds=lambda: of_steps("config")),
    "override": Target(run=_taken_or_refused(_override), seeds=lambda: of_steps("override")),
    "signed_root": Target(
        run=_signed(_signed_root, _root),
        seeds=_payloads("root", compact_json(good.root_payload(2))),
        json=True,
    ),
    "signed_config": Target(
        run=_signed(_signed_config, _config),
        seeds=_payloads("config", compact_json(good.config_payload(2))),
        json=True,
    ),
    "signed_override": Target(
        run=_signed(_signed_override, _override),
        seeds=_payloads("override", compact_json(good.override_payload())),
        json=True,
    ),
    "bootstrap": Target(run=_bootstrap, seeds=lambda: of_steps("start", "bootstrap")),
    "store": Target(run=_stored, seeds=_stores, json=True),
    "jws": Target(run=_jws, seeds=lambda: [*of_steps("config"), *of_steps("root")]),
    "json": Target(run=_json, seeds=_payloads("config", override.TYP.encode()), json=True),
}
