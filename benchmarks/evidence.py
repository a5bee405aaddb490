"""What evidence costs the token service: each verifier, and its appraisal in an answer.

Verifiers in a loop, on evidence that is minted anew for each request where its format binds it to
one: CPU time of the thread, medians. Answers of one desk in an event loop that does nothing else,
in turns without evidence, with signals as the Python SDK sends them, and with an Android
attestation, which is kept in SQLite: CPU time of the process, and its ratio to one P-256
verification and one signature.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from livepin.documents.token_request import TokenRequest, evidence_nonce
from livepin.jose import PrivateKey
from livepin_server.attestation import android, apple, play, play_decoders, workload
from livepin_server.attestation.appraisal import appraise
from livepin_server.attestation.claims import Signals, claims_of
from livepin_server.attestation.policy import DEFAULT
from livepin_server.attestation.registered import Registered
from livepin_server.delivery.tokens import TokenDesk
from livepin_server.main import clock
from livepin_server.services.appraisal.verifiers import Anchors, Verifiers
from livepin_server.services.appraisal.verifying import Verifying
from livepin_server.services.composition import Services
from livepin_server.services.tokens.challenges import Challenges
from livepin_server.telemetry.metrics import Metrics

from .tokens import bare, opened, protected

BUDGET = "with signals, that of a token fetch, see there; none for the verifiers"

_TIMES = 100
_APPS = 500  # that ask once in a turn
_ROUNDS = 5
_CHECKED = (
    "anonymous_code", "ca_override", "changed_code", "debugger", "import_hook", "injected_code",
    "key_log", "preloaded_library", "proxy", "replaced_sdk_function", "replaced_ssl_function",
    "tracing",
)  # fmt: skip
_SIGNALS = {
    "format": "signals", "sdk": "python", "checked": list(_CHECKED), "unchecked": [],
    "found": [{"signal": "proxy", "detail": "HTTPS_PROXY"}],
}  # fmt: skip


def run() -> dict[str, Any]:
    """Return microseconds of each verifier, and of answers."""
    minting = Path(__file__).parents[1] / "packages" / "livepin-server" / "tests" / "minting"
    sys.path.insert(0, str(minting))  # what makes evidence is that of the tests
    return {f"{name} µs": _median(*one) for name, one in _verifiers().items()} | _answers()


def _verifiers() -> dict[str, tuple[Callable[[Any], object], Sequence[Any]]]:
    """Return what to call, and with what in turn."""
    import minted_android
    import minted_apple
    import minted_play
    import minted_workload
    from minted_requests import asked

    request, sample = asked(), minted_android.sample()
    authority, enclave = minted_apple.AppleAuthority(), minted_apple.EnclaveKey()
    attested = enclave.attested(authority, request.nonce)
    _, key = apple.verify_attestation(attested, request, minted_apple.APP, roots=authority.roots)
    issuer = minted_workload.Issuer("kubernetes")
    token, wanted = minted_workload.evidence(issuer.token()), issuer.workload()
    source = wanted.key_source()
    keys, of_play = minted_play.Keys(), minted_android.asked()
    verdict = {
        "format": play.FORMAT, "token": keys.token(minted_play.payload(of_play)),
    }  # fmt: skip
    opens = play_decoders.decoder(keys.app(), clock=clock)
    return {
        "signals, read and appraised": (lambda _: _appraised(), range(_TIMES)),
        "Android Key Attestation": (
            lambda each: android.verify(each, **sample.told()),
            [sample.evidence() for _ in range(_TIMES)],
        ),
        "App Attest, attestation": (
            lambda _: apple.verify_attestation(
                attested, request, minted_apple.APP, roots=authority.roots
            ),
            range(_TIMES),
        ),
        "App Attest, assertion": (
            lambda each: apple.verify_assertion(each, request, minted_apple.APP, key),
            [enclave.asserted(request.nonce) for _ in range(_TIMES)],
        ),
        "Play Integrity, opened here": (
            lambda _: play.verify(verdict, of_play, keys.app(), opens), range(_TIMES),
        ),
        "workload identity, RS256": (
            lambda _: workload.verify_workload(
                token, request, wanted, source.named(workload.read_kid(token))
            ),
            range(_TIMES),
        ),
    }  # fmt: skip


def _appraised() -> None:
    appraise(DEFAULT, "app", claims_of((), Signals.read(_SIGNALS), ()), (), clock())


def _median(one: Callable[[Any], object], inputs: Sequence[Any]) -> float:
    one(inputs[0])
    taken = []
    for each in inputs:
        began = time.thread_time()
        one(each)
        taken.append(time.thread_time() - began)
    return round(statistics.median(taken) * 1e6, 1)


def _answers() -> dict[str, Any]:
    """Return what an answer takes, by what comes with its request."""
    import minted_android

    device = minted_android.Device.make()
    with tempfile.TemporaryDirectory() as text, opened(Path(text) / "data") as found:
        services = found.services
        protected(services)
        desk = _desk(services, Anchors(android=device.roots))

        def attested(nonce: bytes) -> list[dict[str, Any]]:
            return [minted_android.evidence(device.attest(nonce))]

        kinds: dict[str, Callable[[bytes], list[dict[str, Any]]]] = {
            "without evidence": lambda _: [],
            "with signals": lambda _: [_SIGNALS],
            "with an Android attestation": attested,
        }
        taken: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(_ROUNDS):
            for name, make in kinds.items():
                taken[name].append(asyncio.run(_turn(desk, make)) / bare())
        return {
            f"an answer {name}, of the bare cryptography": round(statistics.median(each), 2)
            for name, each in taken.items()
        }


def _desk(services: Services, anchors: Anchors) -> TokenDesk:
    import minted_android

    revoked = replace(minted_android.REVOKED, as_of=clock())
    verifiers = Verifiers(clock=clock, revoked=lambda: revoked, anchors=anchors)
    verifying = Verifying(services.database, verifiers)
    challenges = Challenges(services.tokens.challenge_key())
    desk = TokenDesk(challenges, verifying, services.recording, Metrics(), clock=clock)
    issuing = services.tokens.load("bench")
    desk.replace(replace(issuing, apps={"bank": Registered(android=minted_android.APP)}))
    return desk


async def _turn(desk: TokenDesk, make: Callable[[bytes], list[dict[str, Any]]]) -> float:
    """Return the microseconds of an answer, of requests that are made before."""
    requests = []
    for _ in range(_APPS):
        key = PrivateKey.generate()
        challenged = await desk.answer("bench", _request(key, None, []))
        challenge = msgspec.json.decode(challenged)["challenge"]
        nonce = evidence_nonce(challenge, key.public.kid, "bank")
        requests.append(_request(key, challenge, make(nonce)))
    began = time.process_time()
    answers = [await desk.answer("bench", each) for each in requests]
    taken = (time.process_time() - began) / _APPS * 1e6
    assert all(msgspec.json.decode(each)["tokens"] for each in answers)
    return taken


def _request(key: PrivateKey, challenge: str | None, evidence: list[dict[str, Any]]) -> bytes:
    return TokenRequest(
        account="bench", app="bank", key=key.public, challenge=challenge, stream="main",
        root_version=1, config_version=100, hosts={"api.example.com": None},
        evidence=tuple(evidence),
    ).signed(key)  # fmt: skip
