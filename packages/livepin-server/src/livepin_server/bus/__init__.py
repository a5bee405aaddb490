"""Announcements: a newer config version is there."""
