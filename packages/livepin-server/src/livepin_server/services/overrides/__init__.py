"""Overrides: one installation unpinned for a while, for a pentest; signed, bounded and told."""
