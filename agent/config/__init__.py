"""The configuration: YAML to jobs, with every mistake told at once and at its place. Knows no clock and no socket."""

from agent.config.configuration import Configuration
from agent.config.load import load
from agent.config.masked import masked
from agent.config.mistakes import ConfigurationError, Mistake
from agent.config.secrets import Secrets

__all__ = ["Configuration", "ConfigurationError", "Mistake", "Secrets", "load", "masked"]
