"""Private keys: sealed on the server, encrypted under a passphrase off it."""
