"""Addresses that pages are served on, as people write them: HOST:PORT."""

Address = tuple[str, int]
"""Host and port."""

_HIGHEST_PORT = 65535


def parse(text: str) -> Address:
    """Read an address. Without a host (`:9655`) it is all IPv4 addresses of the machine.

    Raises:
        ValueError: in words for the one who wrote it.

    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > _HIGHEST_PORT:
        raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:9655 or [::1]:9655")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - what nothing before the colon asks for


def written(address: Address) -> str:
    """Return an address as `parse` reads it and as it stands in a URL: IPv6 in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
