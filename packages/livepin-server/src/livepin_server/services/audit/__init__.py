"""The audit log: what was done, by whom, from where and why, in chains that show every change.

Each account has a chain of entries, and the server has one. Use cases append to them within their
own write transactions. `entry` says what an entry is, `chain` how one follows from another, `seals`
what the heads in signed configs prove; `log` alone knows the database, and is not imported here.
"""

from .entry import SERVER, Action, Entry, entry_of

__all__ = ["SERVER", "Action", "Entry", "entry_of"]
