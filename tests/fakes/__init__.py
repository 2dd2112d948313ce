"""Servers that tests start in process, on loopback, at ports the system chooses."""
