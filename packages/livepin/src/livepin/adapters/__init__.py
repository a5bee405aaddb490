"""One file per HTTP library. What a library takes as an `SSLContext` needs no adapter at all."""
