"""Tokens: what installations get, and what is kept of them."""
