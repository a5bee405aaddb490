"""What attacks on roots share: an account whose root key is offline, and the command that signs."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from livepin.documents import Root
from livepin.documents.root import TYP
from livepin.jose import PrivateKey, sign_general
from livepin_server.ceremony.proposal import Proposal
from livepin_server.cli.app import main
from livepin_server.custody.root_file import write_root_key
from livepin_server.services.composition import Services
from livepin_server.services.model import Intent, NextRoot

INTENT = Intent(author="bob")
PASSPHRASE = "correct horse battery staple"


@dataclass(frozen=True)
class Offline:
    """The account `beta`, made under a root key that the server never saw."""

    services: Services
    key: PrivateKey

    def prepare(self, **members: Any) -> Proposal:
        """Prepare the next root."""
        payload, previous = self.services.roots.prepare("beta", NextRoot(**members), INTENT)
        return Proposal.new(payload, previous)

    def publish(self, document: bytes | dict[str, Any]) -> Any:
        """Bring back a root, as signed by whomever."""
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.services.roots.publish("beta", raw, INTENT)

    def signed(self, root: Root | bytes, *signers: PrivateKey) -> bytes:
        """Sign a root, with the root key unless others are said."""
        payload = root if isinstance(root, bytes) else root.payload()
        return sign_general(payload, typ=TYP, signers=list(signers or (self.key,)))

    @property
    def version(self) -> int:
        """The newest root that is published."""
        return self.services.roots.show("beta").version


@pytest.fixture
def offline(services: Services) -> Offline:
    """An account whose root key is elsewhere."""
    key = PrivateKey.generate()
    payload = services.accounts.prepare("beta", [dict(key.public.jwk())], INTENT)
    services.accounts.create("beta", sign_general(payload, typ=TYP, signers=[key]), INTENT)
    return Offline(services, key)


@dataclass(frozen=True)
class Signed:
    """How `livepin root sign` ended."""

    code: int
    out: str
    err: str
    file: bytes


@pytest.fixture
def sign_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Signed]:
    """Run `livepin root sign` on a file with this content, with a root key file of this key."""
    monkeypatch.setenv("LIVEPIN_ROOT_PASSPHRASE", PASSPHRASE)

    def one(content: bytes, key: PrivateKey, *arguments: str, account: str = "beta") -> Signed:
        folder = tmp_path / secrets.token_hex(4)
        folder.mkdir()
        file, key_file = folder / "proposal.json", folder / "root.key"
        file.write_bytes(content)
        write_root_key(key_file, key, account=account, passphrase=PASSPHRASE)
        capsys.readouterr()
        code = main(["root", "sign", str(file), "--key", str(key_file), *arguments])
        found = capsys.readouterr()
        return Signed(code, found.out, found.err, file.read_bytes())

    return one
