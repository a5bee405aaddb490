"""An API to be called, as a process of its own: HTTPS, WebSocket and gRPC, one certificate."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import cast

import grpc
import uvloop
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from livepin.testing import Chain
from websockets.asyncio.server import ServerConnection, serve

METHOD = "/bench/echo"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_LAST_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


class Api:
    """Starts the process, and ends it; `ports` are those of `https`, `websocket` and `grpc`."""

    def __init__(self, folder: Path, chain: Chain) -> None:
        self._folder = folder
        self._write(chain)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.api", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ports: dict[str, int] = json.loads(self._line())

    def present(self, chain: Chain) -> None:
        """Change the certificate, and end kept connections after their next answer."""
        self._write(chain)
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._line()

    def __enter__(self) -> Api:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the API has ended")
        return line

    def _write(self, chain: Chain) -> None:
        presented = (each.public_bytes(Encoding.PEM) for each in chain.presented)
        (self._folder / "chain.pem").write_bytes(b"".join(presented))
        key = chain.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self._folder / "key.pem").write_bytes(key)


class _Http(asyncio.Protocol):
    """Answers each request at once, as a server does that is not to be measured."""

    changes = 0  # of the certificate

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # which uvloop's is not by its class
        self._changes = _Http.changes
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            if self._changes == _Http.changes and b"connection: close" not in head.lower():
                self._transport.write(_ANSWER)
            else:
                self._transport.write(_LAST_ANSWER)
                self._transport.close()
                return


async def _echo(websocket: ServerConnection) -> None:
    async for message in websocket:
        await websocket.send(message)


class _Calls(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def echo(request: bytes, _: grpc.aio.ServicerContext) -> bytes:
            return request

        return grpc.unary_unary_rpc_method_handler(echo)


async def _main(folder: Path) -> None:
    chain, key = folder / "chain.pem", folder / "key.pem"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    # A blocking WebSocket reads in a thread while another writes, and Python's ssl before 3.13 may
    # lose what is written while a ticket is read.
    context.num_tickets = 0
    loop = asyncio.get_running_loop()
    http = await loop.create_server(_Http, "127.0.0.1", 0, ssl=context, backlog=4096)
    websocket = await serve(_echo, "127.0.0.1", 0, ssl=context)
    calls = grpc.aio.server(handlers=[_Calls()])
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), chain.read_bytes())])
    ports = {
        "https": http.sockets[0].getsockname()[1],
        "websocket": next(iter(websocket.sockets)).getsockname()[1],
        "grpc": calls.add_secure_port("127.0.0.1:0", credentials),
    }
    await calls.start()
    print(json.dumps(ports), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        context.load_cert_chain(chain, key)
        _Http.changes += 1
        print(flush=True)


if __name__ == "__main__":
    uvloop.run(_main(Path(sys.argv[1])))
