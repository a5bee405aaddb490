"""Chains of both algorithms, and what looks at a server that presents one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forging
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from livepin.testing import Chain, make_authority, make_chain, make_key
from livepin_server.probing.fast import FastConversation, digest_of

HOST = "api.example.test"


@dataclass(frozen=True)
class Served:
    """A chain, and how it is asked for."""

    chain: Chain
    algorithm: Any

    @property
    def ders(self) -> list[bytes]:
        """What is presented."""
        return forging.ders(self.chain)

    @property
    def digest(self) -> str:
        """What is known of it."""
        return digest_of(self.ders)

    def ask(self, **chance: Any) -> FastConversation:
        """A conversation that knows it."""
        return FastConversation(HOST, self.algorithm, self.digest, **chance)

    def forger(self, **said: Any) -> forging.Forger:
        """A server that has it."""
        return forging.Forger(self.ders, self.chain.key, **said)


@pytest.fixture(scope="session")
def ecdsa() -> Served:
    """A P-256 leaf."""
    return Served(make_chain(HOST, intermediate=True), "ecdsa")


@pytest.fixture(scope="session")
def rsa() -> Served:
    """An RSA leaf."""
    return Served(make_chain(HOST, key=make_key("rsa")), "rsa")


@pytest.fixture(scope="session")
def mixed() -> Served:
    """A P-256 leaf of an RSA CA."""
    return Served(make_chain(HOST, authority=make_authority(key=make_key("rsa"))), "ecdsa")


@pytest.fixture(params=["ecdsa", "rsa"])
def served(request: pytest.FixtureRequest) -> Served:
    """Either."""
    found: Served = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def answer_13() -> Callable[..., Any]:
    """What a look answers to a flight of TLS 1.3 that deviates in what is said."""

    def one(asked: Served, **said: Any) -> Any:
        conversation = asked.ask()
        return forging.told(conversation, asked.forger(**said).flight_13(conversation.outgoing))

    return one


@pytest.fixture
def answer_12() -> Callable[..., Any]:
    """What a look answers to a flight of TLS 1.2 that deviates in what is said."""

    def one(asked: Served, **said: Any) -> Any:
        conversation = asked.ask()
        return forging.told(conversation, asked.forger(**said).flight_12(conversation.outgoing))

    return one


@pytest.fixture(scope="session")
def openssl(missing: Callable[[str], Any]) -> str:
    """OpenSSL's command."""
    return shutil.which("openssl") or missing("openssl is not here; apt install openssl")


@pytest.fixture
def pem_files(tmp_path: Path) -> Callable[[Chain], tuple[Path, Path]]:
    """Write what a chain presents, and its key, for a server."""

    def one(chain: Chain) -> tuple[Path, Path]:
        number = len([*tmp_path.iterdir()])
        key = chain.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        files = tmp_path / f"{number}.pem", tmp_path / f"{number}.key"
        files[0].write_bytes(b"".join(e.public_bytes(Encoding.PEM) for e in chain.presented))
        files[1].write_bytes(key)
        return files

    return one


@pytest.fixture
def openssl_server(
    openssl: str, pem_files: Callable[[Chain], tuple[Path, Path]]
) -> Iterator[Callable[..., int]]:
    """Start `openssl s_server` with a chain and options; give the port."""
    with ExitStack() as stack:

        def one(chain: Chain, *options: str) -> int:
            certificates, key = pem_files(chain)
            files = ["-cert", str(certificates), "-key", str(key)]
            if chain.intermediate is not None:
                rest = certificates.with_suffix(".rest")
                rest.write_bytes(chain.intermediate.certificate.public_bytes(Encoding.PEM))
                files += ["-cert_chain", str(rest)]
            command = [openssl, "s_server", "-accept", "127.0.0.1:0", *files, *options]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            process = stack.enter_context(
                subprocess.Popen(command, text=True, stderr=subprocess.DEVNULL, **pipes)
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("ACCEPT"):
                    return int(line.rpartition(":")[2])
            pytest.fail("openssl s_server did not start")

        yield one
