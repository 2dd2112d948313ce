"""Requests to compare: those that the builders of Microsoft's own SDK make, and ours, taken apart alike."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from kiota_abstractions.authentication import AnonymousAuthenticationProvider
from kiota_abstractions.request_information import RequestInformation
from msgraph import GraphRequestAdapter, GraphServiceClient

CLIENT = GraphServiceClient(request_adapter=GraphRequestAdapter(AnonymousAuthenticationProvider()))
"""Microsoft's client, which makes requests here and sends none."""


@dataclass(frozen=True, slots=True)
class Said:
    """A request, taken apart and decoded."""

    method: str
    path: tuple[str, ...]
    query: frozenset[tuple[str, str]]


def said(method: str, target: str) -> Said:
    parts = urlsplit(target)
    path = parts.path.removeprefix("/v1.0")
    return Said(method, tuple(map(unquote, path.split("/"))), frozenset(parse_qsl(parts.query, keep_blank_values=True)))


def by_sdk(request: RequestInformation) -> Said:
    assert request.http_method is not None
    return said(request.http_method.value, request.url)
