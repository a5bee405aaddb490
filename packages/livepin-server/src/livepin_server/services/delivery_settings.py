"""Where an account's documents are delivered: part of each config, kept beside its domains."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import msgspec
from livepin.documents import Delivery
from livepin.documents.config import check_url
from livepin.errors import MalformedError
from livepin.pins import Pin, PinSet, fingerprint_text
from msgspec import structs

from livepin_server.errors import InvalidError


class DeliverySettings(msgspec.Struct, frozen=True, kw_only=True):
    """URLs, pins (`sha256/BASE64`) and CA of the delivery channel, and how often clients look."""

    urls: list[str]
    pins: list[str]
    recovery_urls: list[str] = []
    ca: str | None = None
    refresh_interval: Annotated[int, msgspec.Meta(ge=1, le=604800)] = 300  # seconds

    def checked(self) -> DeliverySettings:
        """Return the settings if a config may carry them.

        Raises:
            InvalidError: a URL is none, or of the wrong scheme; no URL; no pin.
        """
        try:
            for url in self.urls:
                check_url(url, schemes=("https",))
            for url in self.recovery_urls:
                check_url(url, schemes=("https", "http"))
            found = [Pin.parse(text) for text in self.pins]
        except MalformedError as exc:
            raise InvalidError(f"delivery: {exc}", hint=exc.hint) from exc
        if not self.urls or not found:
            raise InvalidError("delivery: expected at least one URL and one pin")
        return self

    def document(self) -> Delivery:
        """Return the settings as they stand in a config."""
        return Delivery(
            urls=tuple(self.urls),
            pins=PinSet(tuple(Pin.parse(text) for text in self.pins)),
            ca=self.ca,
            recovery_urls=tuple(self.recovery_urls),
        )

    @property
    def interval(self) -> timedelta:
        """The refresh interval."""
        return timedelta(seconds=self.refresh_interval)


class DeliveryChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to change of where documents are delivered; what is not said stays as it is."""

    urls: Annotated[list[str], msgspec.Meta(max_length=16)] | None = None
    recovery_urls: Annotated[list[str], msgspec.Meta(max_length=16)] | None = None
    pins: Annotated[list[str], msgspec.Meta(max_length=100)] | None = None
    ca: Annotated[str, msgspec.Meta(max_length=65536)] | None = None
    refresh_interval: Annotated[int, msgspec.Meta(ge=1, le=604800)] | None = None

    def over(self, before: DeliverySettings) -> DeliverySettings:
        """Return `before` with what is said here.

        Raises:
            InvalidError: no config may carry that.
        """
        found = {name: getattr(self, name) for name in DeliveryChange.__struct_fields__}
        said = {name: each for name, each in found.items() if each is not None}
        return structs.replace(before, **said).checked()


def pin_texts(pins: tuple[Pin, ...]) -> list[str]:
    """Return pins as `sha256/BASE64`."""
    return [fingerprint_text(pin.sha256) for pin in pins if pin.sha256 is not None]
