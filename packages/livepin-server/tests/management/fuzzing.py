"""Fuzz the management API of a real server by its own OpenAPI document, where no network is.

`unshare --net python fuzzing.py DATA [arguments of schemathesis]`: what a probe looks at is made
up too, and must not be anybody's server, so all of it runs in a network of its own, which has a
loopback interface and nothing else.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import time
from pathlib import Path

import httpx

_SET_FLAGS, _UP = 0x8914, 0x1  # SIOCSIFFLAGS, IFF_UP
_PATIENCE = 60.0  # seconds


def bring_loopback_up() -> None:
    """Let this network reach itself; refuse to go on in one that has more."""
    names = {name for _, name in socket.if_nameindex()}
    if names != {"lo"}:
        raise SystemExit(f"expected a network of its own, found the interfaces {sorted(names)}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP))


def _check(port: int, key: str, ca: Path, log: Path) -> int:
    """Tell whether the server went on in order, and the fuzzer was let in to the end."""
    url, headers = f"https://localhost:{port}/v1/whoami", {"Authorization": f"Bearer {key}"}
    context = ssl.create_default_context(cafile=ca)
    answer = httpx.get(url, headers=headers, verify=context, trust_env=False)
    text = log.read_text()
    found = [each for each in ("Traceback", '"unexpected"') if each in text]
    if found or answer.status_code != 200:
        print(f"{answer.status_code}; in the log: {found}\n{text[-20_000:]}")
    return bool(found) or answer.status_code != 200


def main(data: Path, arguments: list[str]) -> int:
    """Serve, fuzz, and stop; return the exit code of schemathesis."""
    bring_loopback_up()
    log = data.parent / "log"
    with log.open("wb") as errors:
        server = subprocess.Popen(
            [sys.executable, "-m", "livepin", "serve", "--data", str(data)],
            stdin=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, "LIVEPIN_REQUESTS_PER_SECOND": "100000"},
        )
    try:
        run_file = data / "run" / "management.json"
        deadline = time.monotonic() + _PATIENCE
        while not run_file.exists():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        port = json.loads(run_file.read_text())["port"]
        key = (data / "operator.key").read_text().strip()
        beside = Path(__file__).parent
        command = [sys.executable, "-m", "schemathesis.cli"]
        command += ["--config-file", str(beside / "fuzzing.toml"), "run"]
        command += [f"https://localhost:{port}/openapi.json", "--url", f"https://localhost:{port}"]
        command += ["--tls-verify", str(data / "tls" / "ca.pem")]
        command += ["--header", f"Authorization: Bearer {key}", *arguments]
        environment = {
            **os.environ,
            "FUZZING_KEY": key,
            "SCHEMATHESIS_HOOKS": str(beside / "fuzzing_hooks.py"),
        }
        code = subprocess.run(command, check=False, cwd=data.parent, env=environment).returncode
        return code or _check(port, key, data / "tls" / "ca.pem", log)
    finally:
        server.terminate()
        server.wait(_PATIENCE)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
