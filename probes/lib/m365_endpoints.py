"""Microsoft's list of Microsoft 365's endpoints: what it looks like, and which hosts of it have to be reachable, and at which addresses.

learn.microsoft.com/microsoft-365/enterprise/microsoft-365-ip-web-service
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import chain, islice
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.resolve import ascii_host

Network = IPv4Network | IPv6Network

MOST_SETS, MOST_URLS, MOST_NETWORKS = 1_000, 2_000, 2_000
"""Bounds of a list, all its entries together for URLs and networks: about ten times what Microsoft's has."""

_HTTPS = 443
_NAT64 = IPv6Network("64:ff9b::/96")
# Where a network has no IPv4, its resolver writes IPv4 addresses so (RFC 6052 2.1).


def _ports(text: object) -> object:
    """Return the ports of "80,443" or "3478-3481"; of a range the first, because any one of them will do."""
    if not isinstance(text, str):
        raise ValueError("is no list of ports")  # noqa: TRY004 - pydantic wants a ValueError
    return tuple(int(part.partition("-")[0]) for part in text.split(",") if part.strip())


_Texts = Annotated[tuple[str, ...], FailFast(), Field(max_length=MOST_URLS)]
# It ends with the first mistake: a list of a million wrong ones would take seconds to describe.


class Version(BaseModel):
    """Version of the list of one instance: digits of a date and a number."""

    model_config = ConfigDict(frozen=True)

    instance: str
    latest: Annotated[str, Field(pattern=r"^[0-9]{10}$")]


class EndpointSet(BaseModel):
    """One entry of the list. What is empty there is absent."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel)

    id: int
    urls: _Texts = ()
    ips: _Texts = ()
    tcp_ports: Annotated[tuple[Annotated[int, Field(ge=1, le=65535)], ...], BeforeValidator(_ports)] = ()
    category: Literal["Optimize", "Allow", "Default"]
    required: bool

    @cached_property
    def networks(self) -> tuple[Network, ...]:
        """The published networks, read when they are first wanted.

        Raises:
            ValueError: where one of them is none.

        """
        return tuple(map(ip_network, self.ips))


_VERSION = TypeAdapter(Version)
_SETS = TypeAdapter(Annotated[tuple[EndpointSet, ...], FailFast(), Field(max_length=MOST_SETS)])


@dataclass(frozen=True, slots=True)
class Front:
    """A host that has to be reachable: a port that it listens on, and the networks it is in, by entry; none where none are published."""

    host: str
    port: int
    networks: tuple[tuple[Network, ...], ...]

    def outside(self, addresses: Iterable[str]) -> tuple[str, ...]:
        """Return those addresses that are in none of the networks; of a family for which none is published, nothing can be said."""
        return tuple(text for text in addresses if not self._covers(_address(text)))

    def _covers(self, address: IPv4Address | IPv6Address) -> bool:
        published = [network for network in chain.from_iterable(self.networks) if network.version == address.version]
        return not published or any(address in network for network in published)


def read_version(body: bytes, instance: str) -> Version:
    """Read the answer of /version/{instance}.

    Raises:
        Failed: CONTENT_MISMATCH.

    """
    try:
        version = _VERSION.validate_json(body)
    except ValueError as error:
        raise _mismatch("the version", error) from error
    if version.instance.casefold() != instance.casefold():
        raise Failed(Reason.CONTENT_MISMATCH, f"the version is that of {version.instance[:40]!r}, not of {instance}")
    return version


def read_sets(body: bytes) -> tuple[EndpointSet, ...]:
    """Read the answer of /endpoints/{instance}.

    Raises:
        Failed: CONTENT_MISMATCH.

    """
    try:
        sets = _SETS.validate_json(body)
    except ValueError as error:
        raise _mismatch("the list of endpoints", error) from error
    urls, networks = sum(len(entry.urls) for entry in sets), sum(len(entry.ips) for entry in sets)
    if urls > MOST_URLS or networks > MOST_NETWORKS:
        raise Failed(Reason.CONTENT_MISMATCH, f"the list of endpoints has {urls} URLs and {networks} networks, more than it can have")
    return sets


def required_fronts(sets: tuple[EndpointSet, ...], most: int) -> tuple[tuple[Front, ...], int]:
    """Return the hosts that Microsoft calls required and puts into Optimize or Allow, and how many were left out beyond `most`.

    They are in the order of the list; wildcards are no hosts.

    Raises:
        Failed: CONTENT_MISMATCH, where there is none, or one that is no host name.

    """
    listed: dict[str, list[EndpointSet]] = defaultdict(list)
    for entry in sets:
        for url in entry.urls:
            listed[url.lower()].append(entry)
    wanted = {host: entries for host, entries in listed.items() if "*" not in host and any(map(_counts, entries))}
    if not wanted:
        raise Failed(Reason.CONTENT_MISMATCH, "the list of endpoints names no host that is required")
    return tuple(_front(host, entries) for host, entries in islice(wanted.items(), most)), max(len(wanted) - most, 0)


def _counts(entry: EndpointSet) -> bool:
    return entry.required and entry.category != "Default" and bool(entry.tcp_ports)


def _front(host: str, entries: list[EndpointSet]) -> Front:
    """Join what several entries say of a host. Where one of them publishes no networks, the host may be anywhere."""
    ports = [port for entry in entries if _counts(entry) for port in entry.tcp_ports]
    everywhere = not all(entry.ips for entry in entries)
    try:
        networks = () if everywhere else tuple(entry.networks for entry in entries)
        return Front(ascii_host(host), _HTTPS if _HTTPS in ports else ports[0], networks)
    except ValueError as error:
        raise _mismatch("the list of endpoints", error) from error


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text)
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address


def _mismatch(what: str, error: ValueError) -> Failed:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        words = f"{where}: {first['msg']}" if where else first["msg"]
    else:
        words = str(error)
    return Failed(Reason.CONTENT_MISMATCH, f"{what} is not as Microsoft describes it: {' '.join(words.split())[:200]}")
