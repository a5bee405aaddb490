"""Every periodic task of the server."""
