"""Livepin: dynamic TLS certificate pinning, enforced in the app, delivered by its owner."""

__version__ = "0.1.0"
