"""Attestations of real devices, where a folder of them is found; else there are no such tests.

It is `shared/vectors` beside any folder above the checkout, or what `LIVEPIN_VECTORS` names.
Each chain has what it says beside it; most are of developers' devices, which are unlocked.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import re
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from livepin_server.attestation import android
from livepin_server.attestation.android import AndroidApp
from livepin_server.attestation.android_chain import KEY_DESCRIPTION, Certificate, read_roots
from livepin_server.attestation.attested import EvidenceError
from livepin_server.attestation.key_description import KeyDescription
from livepin_server.attestation.revoked import Revoked
from minted_android import asked, evidence

_SOFTWARE_ROOT = {"marlin/sdk29/TEE_EC_NONE", "marlin/sdk29/TEE_RSA_NONE"}
_LEVELS = {"TRUSTED_ENVIRONMENT": 1, "STRONG_BOX": 2, "SOFTWARE": 0}
_BOOT = {"VERIFIED": 0, "SELF_SIGNED": 1, "UNVERIFIED": 2, "FAILED": 3}


def _folder():
    named = os.environ.get("LIVEPIN_VECTORS")
    beside = [each / "shared" / "vectors" for each in Path(__file__).resolve().parents]
    found = [Path(named)] if named else beside
    return next((each / "android" for each in found if (each / "android").is_dir()), None)


FOLDER = _folder()
__test__ = FOLDER is not None


def _chains():
    if FOLDER is None:
        return []
    chains = [each for each in FOLDER.rglob("*.pem") if each.with_suffix(".json").exists()]
    return sorted(each.relative_to(FOLDER).with_suffix("").as_posix() for each in chains)


def _read(path):
    found = x509.load_pem_x509_certificates(path.read_bytes())
    return [each.public_bytes(Encoding.DER) for each in found]


def _json5(path):
    """Return what a file says that has comments, and commas before closing brackets."""
    text = re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.MULTILINE)
    return json.loads(re.sub(r",(\s*[}\]])", r"\1", text))


def _described(chain):
    return KeyDescription.parse(Certificate.parse(chain[0]).extensions[KEY_DESCRIPTION])


def _told(described, moment):
    application = described.application
    package = next(iter(application.packages))
    status = FOLDER / "revocation-status-sample.json"
    return {
        "asked": asked(nonce=described.challenge, now=moment),
        "app": AndroidApp(package=package, certificates=sorted(application.certificates)),
        "revoked": Revoked.parse(status.read_bytes(), moment),
    }


@pytest.mark.parametrize("name", _chains())
def test_a_real_chain_says_what_is_expected_of_it(name):
    chain, expected = _read(FOLDER / f"{name}.pem"), _json5(FOLDER / f"{name}.json")
    found = _described(chain)
    enforced = {**expected["softwareEnforced"], **expected["hardwareEnforced"]}
    assert found.version == int(expected["attestationVersion"])
    assert found.security == _LEVELS[expected["attestationSecurityLevel"]]
    assert found.mint_security == _LEVELS[expected["keyMintSecurityLevel"]]
    assert found.challenge == base64.b64decode(expected["attestationChallenge"])
    application = enforced["attestationApplicationId"]
    assert found.application.packages == {
        each["name"]: int(each["version"]) for each in application["packages"]
    }
    assert found.application.certificates == {
        base64.b64decode(each).hex() for each in application["signatures"]
    }
    hardware = expected["hardwareEnforced"]
    assert str(found.patch_level) == hardware.get("osPatchLevel", "None")
    assert ("GENERATED" if found.origin == 0 else None) == hardware.get("origin")
    root = hardware.get("rootOfTrust")
    if root is None:
        assert found.root_of_trust is None
    else:
        assert found.root_of_trust.boot_key == base64.b64decode(root["verifiedBootKey"])
        assert found.root_of_trust.locked == root["deviceLocked"]
        assert found.root_of_trust.boot_state == _BOOT[root["verifiedBootState"]]
    _judged(name, chain, found, enforced)


def _judged(name, chain, described, enforced):
    """Each chain is verified up to what its device is: unlocked, or taken."""
    moment = dt.datetime.fromtimestamp(int(enforced["creationDateTime"]) / 1000, dt.timezone.utc)
    told = _told(described, moment)
    if name in _SOFTWARE_ROOT:
        check = "root"
    elif not enforced["rootOfTrust"]["deviceLocked"]:
        check = "unlocked"
    else:
        assert android.verify(evidence(chain), **told).level == "hardware_app"
        if "RKP" in name or "2026" in name:
            told["asked"] = asked(nonce=described.challenge, now=moment + dt.timedelta(days=90))
            told["revoked"] = Revoked(entries={"1f": "x"}, as_of=moment + dt.timedelta(days=90))
            _refused(chain, told, "expired")
        return
    _refused(chain, told, check)


def _refused(chain, told, check):
    with pytest.raises(EvidenceError) as caught:
        android.verify(evidence(chain), **told)
    assert caught.value.check == check


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("malformed_rot_device_locked", "malformed"),
        ("tags_not_in_ascending_order", "chain"),  # it was changed, and not signed again
    ],
)
def test_a_real_chain_that_is_not_as_it_should_be_is_refused(name, check):
    chain = _read(FOLDER / "invalid" / f"{name}.pem")
    good = next(each for each in _chains() if each not in _SOFTWARE_ROOT)
    told = _told(_described(_read(FOLDER / f"{good}.pem")), asked().now)
    _refused(chain, told, check)


def test_without_the_newer_root_its_devices_are_refused():
    chain = _read(FOLDER / "tegu" / "sdk36" / "TEE_EC_2026_ROOT.pem")
    told = _told(_described(chain), dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc))
    first = json.loads((FOLDER / "roots.json").read_bytes())[:1]
    assert android.verify(evidence(chain), **told).said["patch level"] == "2026-02"
    _refused(chain, told | {"roots": read_roots(json.dumps(first).encode())}, "root")
