"""Placeholder until merged."""

from msgspec import Struct


class Registered(Struct, frozen=True, kw_only=True):
    android: object = None
