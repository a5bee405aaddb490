"""Data: the schema, its migrations, and the one way to read and to write it."""
