"""The vectors: `python -m vectors.make` writes them; `README.md` says how to run them."""
