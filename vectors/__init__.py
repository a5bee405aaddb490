"""The vectors: `python -m vectors` writes them; `README.md` says how to run them."""
