"""All metrics, and the only place that knows the text formats."""

from agent.exporter.catalogue import CATALOGUE, Family
from agent.exporter.exporter import Exporter
from agent.exporter.exposition import Exposition, Renderer

__all__ = ["CATALOGUE", "Exporter", "Exposition", "Family", "Renderer"]
