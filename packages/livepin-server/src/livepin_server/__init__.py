"""The Livepin server: signed pin configs, their delivery, management, and operators' commands."""

__version__ = "0.1.0"
