"""The internet-facing front end: signed bytes from memory. It holds no key, asks no database."""
