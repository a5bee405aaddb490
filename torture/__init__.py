"""What is too long for `make test`: fuzzing, kills by the dozen, broken disks, an app in chaos."""
