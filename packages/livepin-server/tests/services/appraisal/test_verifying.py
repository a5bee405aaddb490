"""Evidence in token requests: what it proves is kept, counts, and is another installation's never.

Devices are minted; what decides is all there: a desk, a policy, and a database.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass, field, replace
from typing import Any

import minted_android
import minted_apple
import minted_workload
import pytest
from livepin import tokens
from livepin.documents.token_request import TokenRequest, evidence_nonce
from livepin.errors import VerificationError
from livepin.jose import PrivateKey
from livepin.tokens import TokenError, TokenKey, verify
from livepin_server.attestation.policy import AppPolicy, Policy
from livepin_server.attestation.registered import Registered
from livepin_server.delivery.tokens import TokenDesk
from livepin_server.errors import UnavailableError
from livepin_server.services.appraisal import verifying
from livepin_server.services.appraisal.verifiers import Anchors, Verifiers
from livepin_server.services.appraisal.verifying import Verifying
from livepin_server.services.model import Intent, NewDomain
from livepin_server.services.tokens.challenges import Challenges
from livepin_server.telemetry.metrics import Metrics

HOST, APP = "api.example.com", "bank"
NEEDED = Policy(apps={APP: AppPolicy(level="hardware_app")})
AUTHORITY = minted_apple.AppleAuthority()
DEVICE = minted_android.Device.make()
ISSUER = minted_workload.Issuer("kubernetes")
REGISTERED = Registered(
    android=minted_android.APP, apple=minted_apple.APP, workload=ISSUER.workload()
)


@pytest.fixture
def desk(services, clock, new_pin, intent) -> TokenDesk:
    """Who answers token requests of `acme`, where `bank` must prove `hardware_app`."""
    services.domains.add("acme", NewDomain(pattern=HOST, pins=[new_pin()], token=True), intent)
    anchors = Anchors(android=DEVICE.roots, apple=AUTHORITY.roots)
    verifiers = Verifiers(clock=clock, revoked=lambda: minted_android.REVOKED, anchors=anchors)
    found = TokenDesk(
        Challenges(bytes(32)), Verifying(services.database, verifiers), services.recording,
        Metrics(), clock=clock,
    )  # fmt: skip
    found.replace(issuing(services, NEEDED))
    return found


def issuing(services, policy: Policy):
    """Return what tokens are made of under a policy."""
    return replace(services.tokens.load("acme"), policy=policy, apps={APP: REGISTERED})


@dataclass
class Phone:
    """An installation, that asks a desk for tokens."""

    desk: TokenDesk
    key: PrivateKey = field(default_factory=PrivateKey.generate)
    challenge: str | None = None

    @property
    def id(self) -> str:
        return tokens.installation_id("acme", self.key.public.kid)

    @property
    def nonce(self) -> bytes:
        """What fresh evidence is to carry."""
        if self.challenge is None:
            self.send()
        return evidence_nonce(self.challenge or "", self.key.public.kid, APP)

    def request(self, *evidence: dict[str, Any], app: str = APP) -> bytes:
        return TokenRequest(
            account="acme", app=app, key=self.key.public, challenge=self.challenge, stream="main",
            root_version=1, config_version=1, hosts={HOST: None}, evidence=evidence,
        ).signed(self.key)  # fmt: skip

    def send(self, *evidence: dict[str, Any], app: str = APP) -> dict[str, Any]:
        raw = asyncio.run(self.desk.answer("acme", self.request(*evidence, app=app)))
        found: dict[str, Any] = json.loads(raw)
        self.challenge = found["challenge"]
        return found

    def passes(self, *evidence: dict[str, Any], app: str = APP) -> bool:
        """Ask; tell whether a backend takes the token."""
        if self.challenge is None:
            self.send()
        token = self.send(*evidence, app=app)["tokens"][HOST]["token"]
        raw = self.desk.jwks("acme", restricted=False)
        keys: dict[str, TokenKey] = tokens.parse_jwks(raw)
        try:
            verify(token, keys, audience=HOST, now=self.desk._clock())
        except TokenError:
            return False
        return True


@pytest.fixture
def phone(desk) -> Phone:
    return Phone(desk)


def android(nonce: bytes, **changes: Any) -> dict[str, Any]:
    return minted_android.evidence(DEVICE.attest(nonce, **changes))


def proofs(services, phone: Phone) -> list[tuple[str, str, bool]]:
    services.recording.keep()
    found = services.appraising.explain("acme", phone.id)
    return [(each.format, each.level, each.bound) for each in found.proofs]


def test_hardware_that_says_which_app_asks_passes_and_is_kept(services, phone) -> None:
    assert not phone.passes()
    assert phone.passes(android(phone.nonce))
    assert proofs(services, phone) == [("android-key-attestation", "hardware_app", True)]
    assert phone.passes()  # by what was proved before


def test_a_key_in_hardware_is_another_level_and_both_are_kept(services, phone) -> None:
    key = phone.key.public.key
    own = android(evidence_nonce("", "", APP), key=key)
    assert not phone.passes(own)
    assert proofs(services, phone) == [("android-key-attestation", "hardware_key", True)]
    assert phone.passes(own, android(phone.nonce))
    assert [level for _, level, _ in proofs(services, phone)] == ["hardware_app", "hardware_key"]


def test_what_was_proved_ends_with_its_time(services, phone, desk, clock) -> None:
    assert phone.passes(android(phone.nonce))
    clock.advance(days=1)
    phone.challenge = None
    assert not phone.passes()
    services.recording.keep()
    (proof,) = services.appraising.explain("acme", phone.id).proofs
    assert not proof.counts


def test_evidence_relayed_from_a_genuine_device_is_refused(phone, desk) -> None:
    """The victim's device attests for its own key, and for its own challenge."""
    victim = Phone(desk)
    relayed = android(victim.nonce)
    assert not phone.passes(relayed)
    assert victim.passes(relayed)
    again = Phone(desk)
    assert not again.passes(relayed)


def test_what_one_app_proved_is_not_anothers(services, phone, desk) -> None:
    assert phone.passes(android(phone.nonce))
    desk.replace(issuing(services, Policy(level="hardware_app")))
    assert phone.passes()
    assert not phone.passes(app="other")


def test_evidence_of_an_app_that_is_not_registered_is_refused(services, phone, desk) -> None:
    desk.replace(issuing(services, Policy(level="hardware_app")))
    assert not phone.passes(android(phone.nonce), app="other")
    services.recording.keep()
    (refused,) = services.appraising.explain("acme", phone.id).refused
    assert (refused.format, refused.check) == ("android-key-attestation", "unregistered")


def test_a_refusal_is_in_the_log_and_not_in_the_answer(services, phone, caplog) -> None:
    phone.send()
    with caplog.at_level(logging.INFO, "livepin.tokens"):
        refused = phone.send(android(phone.nonce, security=0))
    (line,) = caplog.messages
    assert line.startswith(f"evidence of {phone.id} was refused: android-key-attestation: ")
    good = phone.send(android(phone.nonce))
    assert refused.keys() == good.keys()
    assert len(json.dumps(refused)) == len(json.dumps(good))


def test_an_attested_key_asserts_and_its_counter_never_goes_down(services, phone) -> None:
    enclave = minted_apple.EnclaveKey()
    assert phone.passes(enclave.attested(AUTHORITY, phone.nonce))
    for _ in range(2):
        assert phone.passes(enclave.asserted(phone.nonce))
    assert proofs(services, phone) == [("apple-app-attest", "hardware_app", True)]


def test_an_assertion_of_a_key_that_was_never_attested_is_refused(phone, desk) -> None:
    enclave = minted_apple.EnclaveKey()
    other = Phone(desk)
    assert other.passes(enclave.attested(AUTHORITY, other.nonce))
    assert not phone.passes(enclave.asserted(phone.nonce))


def test_a_queue_of_evidence_has_an_end(phone, desk, monkeypatch) -> None:
    """Junk that somebody else has to be asked about keeps nobody else waiting for ever."""
    monkeypatch.setattr(verifying, "_MOST_WAITING", 1)
    evidence = android(phone.nonce)
    other = Phone(desk)
    second = other.request(android(other.nonce))

    async def both() -> list[Any]:
        asking = [desk.answer("acme", each) for each in (phone.request(evidence), second)]
        return await asyncio.gather(*asking, return_exceptions=True)

    answered, refused = asyncio.run(both())
    assert isinstance(answered, bytes)
    assert isinstance(refused, UnavailableError)
    phone.challenge = None
    assert phone.passes(android(phone.nonce))


def test_of_two_requests_with_one_counter_one_alone_is_taken(phone, desk, caplog) -> None:
    """They come at the same time, to whatever node: who is kept first was first."""
    enclave = minted_apple.EnclaveKey()
    assert phone.passes(enclave.attested(AUTHORITY, phone.nonce))
    requests = []
    for _ in range(2):
        phone.challenge = None
        evidence = enclave.asserted(phone.nonce)
        enclave.counter = 0
        requests.append(phone.request(evidence))

    async def both() -> None:
        await asyncio.gather(*(desk.answer("acme", each) for each in requests))

    with caplog.at_level(logging.INFO, "livepin.tokens"):
        asyncio.run(both())
    (line,) = caplog.messages
    assert "apple-app-attest: counter: expected above " in line


def test_a_workload_is_relayable_unless_its_audience_has_the_nonce(
    services, phone, desk, clock
) -> None:
    desk.replace(issuing(services, Policy(level="platform")))
    loose = minted_workload.evidence(ISSUER.token(**times(clock)))
    assert not phone.passes(loose)
    assert proofs(services, phone) == [("workload-jwt", "platform", False)]
    desk.replace(issuing(services, Policy(level="platform", relayable=True)))
    assert phone.passes(loose)
    desk.replace(issuing(services, Policy(level="platform")))
    audience = minted_workload.bound_to(phone.nonce)
    assert phone.passes(minted_workload.evidence(ISSUER.token(aud=audience, **times(clock))))


def times(clock) -> dict[str, int]:
    now = int(clock().timestamp())
    return {"iat": now - 5, "nbf": now - 5, "exp": now + 600}


def test_signals_and_measurements_need_no_database(services, phone, desk, monkeypatch) -> None:
    desk.replace(issuing(services, Policy(level="self")))
    phone.send()

    def away():
        raise UnavailableError("away")

    monkeypatch.setattr(services.database, "reading", away)
    monkeypatch.setattr(services.database, "write", away)
    signals = {"format": "signals", "sdk": "python", "found": []}
    assert phone.passes(signals)
    assert not phone.passes()
    assert not phone.passes({"format": "measurements", "digest": "A" * 43, "files": 1})
    assert not phone.passes({"format": "unknown"})


def test_signals_are_the_first_that_come(services, phone, desk) -> None:
    """The SDK's own come first: what is put behind them does not wash them clean."""
    desk.replace(issuing(services, Policy()))
    phone.send()
    found = {"format": "signals", "sdk": "python", "found": [{"signal": "injected_code"}]}
    assert not phone.passes(found, {"format": "signals", "sdk": "python", "found": []})


def test_one_request_cannot_have_a_verifier_work_all_day(services, phone, caplog) -> None:
    """Of each piece Google may be asked, for seconds, and by a quota."""
    phone.send()
    junk = [{"format": "android-key-attestation", "chain": []}] * 2
    with caplog.at_level(logging.INFO, "livepin.tokens"):
        assert not phone.passes(*junk, android(phone.nonce))
    assert "number: expected at most 2 of one format" in caplog.messages[-1]
    assert phone.passes(junk[0], android(phone.nonce))


def test_without_a_database_hardware_proves_nothing_and_503_says_so(
    services, phone, monkeypatch
) -> None:
    evidence = android(phone.nonce)

    def away(*_):
        raise UnavailableError("away")

    monkeypatch.setattr(services.database, "reading", away)
    with pytest.raises(UnavailableError):
        phone.send(evidence)


def test_what_an_operator_decided_goes_before_the_verdict(services, phone, desk) -> None:
    services.installations.decide("acme", phone.id, "pass", Intent(author="bob", reason="QA"))
    desk.replace(issuing(services, NEEDED))
    assert phone.passes()
    services.installations.decide("acme", phone.id, "fail", Intent(author="bob", reason="QA"))
    desk.replace(issuing(services, NEEDED))
    assert not phone.passes(android(phone.nonce))


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_mutated_bodies_leave_the_service_up(services, phone, desk, torture) -> None:
    """Each is signed after the damage, so that its evidence is read."""
    chance, number = torture.chance, _BODIES * torture.kills
    phone.send()
    nonce = phone.nonce
    enclave = minted_apple.EnclaveKey()
    sound = [
        android(nonce),
        enclave.attested(AUTHORITY, nonce),
        minted_workload.evidence(ISSUER.token()),
        {"format": "signals", "sdk": "python", "found": [{"signal": "proxy", "detail": "x"}]},
        {"format": "measurements", "digest": "A" * 43, "files": 1},
        {"format": "play-integrity", "token": "a.b.c"},
    ]
    spent = desk.challenges

    async def ask() -> None:
        for _ in range(number):
            desk.challenges = Challenges(bytes(32))
            phone.challenge = desk.challenges.make("acme", phone.key.public.kid, desk._clock())
            text = json.dumps(chance.choice(sound))
            at = chance.randrange(len(text))
            text = text[:at] + chance.choice(["", "A", '"', "0", "null", "{"]) + text[at + 1 :]
            try:
                evidence = json.loads(text)
            except ValueError:
                continue
            if isinstance(evidence, dict) and isinstance(evidence.get("format"), str):
                with contextlib.suppress(VerificationError):
                    await desk.answer("acme", phone.request(evidence))

    asyncio.run(ask())
    torture.count("bodies", number)
    desk.challenges = spent
    phone.challenge = None
    assert phone.passes(android(phone.nonce))


_BODIES = 200  # for each of what is done once in an ordinary run
