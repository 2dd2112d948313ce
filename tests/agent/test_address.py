"""Addresses to listen on, as people write them."""

import pytest

from agent.address import parse, written


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9655", ("127.0.0.1", 9655)),
        ("[::1]:0", ("::1", 0)),
        ("fog.example.org:65535", ("fog.example.org", 65535)),
    ],
)
def test_an_address_is_written_as_it_is_read(text: str, address: tuple[str, int]) -> None:
    assert parse(text) == address
    assert written(address) == text


def test_a_port_alone_means_all_addresses() -> None:
    assert parse(":9655") == ("0.0.0.0", 9655)


@pytest.mark.parametrize("text", ["", "9655", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "127.0.0.1:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not HOST:PORT, such as 127\.0\.0\.1:9655"):
        parse(text)
