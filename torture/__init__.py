"""What is too long for `make test`: fuzzing, kills by the dozen, a client in chaos."""
