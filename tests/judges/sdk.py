"""Microsoft's own client of Graph, pointed at a simulated tenant.

The SDK loads its thousands of modules only as they are used: importing it takes a quarter of a second.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Any

import httpx
from kiota_abstractions.authentication import AccessTokenProvider, AllowedHostsValidator, BaseBearerTokenAuthenticationProvider
from kiota_http.middleware.options import RetryHandlerOption
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.graph_request_adapter import options
from msgraph_core import GraphClientFactory

from agent.drill.world import World


class FixedToken(AccessTokenProvider):
    """Hands out one token, for the simulated Graph only."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._hosts = AllowedHostsValidator(["localhost"])

    async def get_authorization_token(self, uri: str, additional_authentication_context: dict[str, Any] | None = None) -> str:
        del additional_authentication_context
        assert self._hosts.is_url_host_valid(uri)
        return self._token

    def get_allowed_hosts_validator(self) -> AllowedHostsValidator:
        return self._hosts


@asynccontextmanager
async def sdk(world: World, tls: SSLContext, token: str) -> AsyncIterator[GraphServiceClient]:
    """Give Microsoft's client of this world's Graph while the block runs. It asks once: its retries would wait for seconds."""
    once = {**options, RetryHandlerOption.get_key(): RetryHandlerOption(max_retries=0, should_retry=False)}
    # The factory wraps the transport and forgets to close it: so it is closed here.
    async with httpx.AsyncHTTPTransport(verify=tls) as transport:
        client = GraphClientFactory.create_with_default_middleware(client=httpx.AsyncClient(transport=transport), options=once)
        adapter = GraphRequestAdapter(BaseBearerTokenAuthenticationProvider(FixedToken(token)), client)
        adapter.base_url = world.url("graph", "/v1.0")
        yield GraphServiceClient(request_adapter=adapter)
