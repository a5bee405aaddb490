"""`ExactRequest`: a JSON body is what it says, and nothing that it might mean."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import ValidationException

_PLACE = re.compile(r" - at `\$\.?(.+)`$")


class ExactRequest(Request[Any, Any, Any]):
    """A request whose body has the types that its handler names.

    The framework alone would take the text "1" for a number, and 0 for false.
    """

    async def json(self) -> Any:
        """Return the body.

        Raises:
            ValidationException: a member of it has another type.
        """
        found = await super().json()
        wanted = self.route_handler.parsed_data_field
        if wanted is not None:
            _require(_whole(found), wanted.annotation)
        return found


def _whole(found: Any) -> Any:
    """Return a body with 20 for each 20.0: to JSON they are one number (RFC 8259, section 6)."""
    if isinstance(found, dict):
        return {name: _whole(each) for name, each in found.items()}
    if isinstance(found, list):
        return [_whole(each) for each in found]
    return int(found) if isinstance(found, float) and found.is_integer() else found


def _require(found: Any, kind: Any) -> None:
    try:
        msgspec.convert(found, kind)
    except msgspec.ValidationError as exc:
        message, place = str(exc), _PLACE.search(str(exc))
        key = "body" if place is None else place[1]
        mistake = {"key": key, "message": _PLACE.sub("", message)}
        raise ValidationException(extra=[mistake]) from exc
