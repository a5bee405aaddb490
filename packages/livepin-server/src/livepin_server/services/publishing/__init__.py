"""Publishing: build the config from the rows, sign it, check it, keep it, announce it."""
