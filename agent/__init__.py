"""The Fogbell agent: configuration, rhythm, runs, exposition. Imports `probes`; nothing there imports it."""

__version__ = "0.1.0"
