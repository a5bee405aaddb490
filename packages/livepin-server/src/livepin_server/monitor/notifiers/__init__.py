"""Notifiers: how a notice is told to each kind of channel, one file for each."""
