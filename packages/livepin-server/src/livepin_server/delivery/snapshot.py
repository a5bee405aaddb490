"""What delivery serves, ready to be sent, by request path."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

from livepin_server.exports.static.documents import StaticFile, config_file, root_file
from livepin_server.services.model import AccountDocuments

Headers = list[tuple[str, str]]

_SMALLEST_GZIP = 512  # bytes; below, the header costs more than is saved


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One answer, in the forms that it is sent in. `stream` is that of a config, else None."""

    account: str
    version: int
    etag: str
    raw: bytes
    compressed: bytes | None
    headers: Headers
    compressed_headers: Headers
    stream: str | None


class Snapshot:
    """The documents of all accounts. One is swapped as a whole; readers never wait."""

    def __init__(self) -> None:
        self._by_path: dict[str, Document] = {}
        self._versions: dict[str, dict[str, tuple[int, int]]] = {}

    def get(self, path: str) -> Document | None:
        """Return the document at a request path."""
        return self._by_path.get(path)

    def versions(self, account: str) -> dict[str, tuple[int, int]] | None:
        """Return (root_version, version) of each stream of an account; None if there is none."""
        return self._versions.get(account)

    def replace(self, account: str, documents: AccountDocuments) -> None:
        """Serve these documents of an account from now on."""
        fresh: dict[str, Document] = {}
        for stream, config in documents.configs.items():
            tag = f"{config.root_version}.{config.version}"
            file = config_file(account, stream, config.raw)
            fresh[f"/{file.path}"] = ready(account, config.version, tag, file, stream)
        for version, raw in documents.roots.items():
            file = root_file(account, version, raw)
            fresh[f"/{file.path}"] = ready(account, version, str(version), file, None)
        others = {p: d for p, d in self._by_path.items() if d.account != account}
        self._by_path = others | fresh
        self._versions[account] = {
            stream: (config.root_version, config.version)
            for stream, config in documents.configs.items()
        }


def ready(account: str, version: int, tag: str, file: StaticFile, stream: str | None) -> Document:
    """Return a document in the forms that it is sent in."""
    etag, raw = f'"{tag}"', file.body
    headers = [
        ("content-type", file.content_type),
        ("etag", etag),
        ("cache-control", file.caching),
        ("vary", "accept-encoding"),
        ("x-content-type-options", "nosniff"),
    ]
    compressed = gzip.compress(raw, 6, mtime=0) if len(raw) >= _SMALLEST_GZIP else None
    return Document(
        account=account,
        version=version,
        etag=etag,
        raw=raw,
        compressed=compressed,
        headers=headers,
        compressed_headers=[*headers, ("content-encoding", "gzip")],
        stream=stream,
    )
