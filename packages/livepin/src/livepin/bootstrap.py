"""The bootstrap: what an app embeds to know whom to trust from its first start.

It holds the newest root and config of the day of the build. The config in it carries the
delivery URLs, pins and CA, so there is one source for them. It holds no secret.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import jsontext
from .documents import config, root
from .errors import MalformedError
from .jose import b64url_decode, b64url_encode

MAX_SIZE = 2 * (config.MAX_SIZE + root.MAX_SIZE)  # bytes
FORMAT = "livepin-bootstrap/1"
_PREFIX = b"livepin:"
_HINT = "make a new one with: livepin bootstrap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """A root (general JSON JWS) and a config (compact JWS), as signed; nothing is verified yet."""

    root: bytes
    config: bytes

    @classmethod
    def parse(cls, text: str | bytes) -> Bootstrap:
        """Return the bootstrap in its JSON or its one-string form.

        Raises:
            MalformedError: neither of them, or too large.
        """
        # What is no UTF-8 becomes question marks, which no bootstrap holds.
        data = text.encode(errors="replace") if isinstance(text, str) else text
        data = data.strip()
        if len(data) > MAX_SIZE:
            raise MalformedError(f"expected a bootstrap of at most {MAX_SIZE} bytes", hint=_HINT)
        try:
            if data.startswith(_PREFIX):
                data = b64url_decode(data.removeprefix(_PREFIX))
            jsontext.check_depth(data)
            members = jsontext.parse_object(data)
        except MalformedError as exc:
            raise MalformedError(f"expected a Livepin bootstrap: {exc}", hint=_HINT) from exc
        found_root, found_config = members.get("root"), members.get("config")
        if members.get("format") != FORMAT:
            raise MalformedError(f"expected a bootstrap of the format {FORMAT}", hint=_HINT)
        if not isinstance(found_root, dict) or not isinstance(found_config, str):
            raise MalformedError("expected a bootstrap with a root and a config", hint=_HINT)
        if not found_config.isascii():
            raise MalformedError("expected the config of a bootstrap as compact JWS", hint=_HINT)
        return cls(root=jsontext.dump(found_root), config=found_config.encode())

    def to_json(self) -> bytes:
        """Return the JSON form, the file that an app embeds."""
        members = {
            "format": FORMAT,
            "root": jsontext.parse_object(self.root),
            "config": self.config.decode("ascii"),
        }
        return jsontext.dump(members)

    def to_text(self) -> str:
        """Return the one-string form, for a build setting or an environment variable."""
        return (_PREFIX + b64url_encode(self.to_json())).decode()
