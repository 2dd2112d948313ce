"""Sending a letter of our own, waiting for it, and finding out what became of it."""
