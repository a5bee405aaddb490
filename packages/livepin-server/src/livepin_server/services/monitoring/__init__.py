"""Knowing before the apps do: where to look and when, what is wrong, and who is told."""
