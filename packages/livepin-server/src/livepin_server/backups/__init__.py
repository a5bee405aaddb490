"""Backups: everything that a lost server needs, sealed, and how a server comes out of one again."""
