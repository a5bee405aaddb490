"""The running parts of monitoring: what looks, and what tells."""
