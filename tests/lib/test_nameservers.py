"""What people may write for a resolver, and where the machine's own is found."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from probes.core.contract import Inconclusive
from probes.core.reasons import Reason
from probes.lib.nameservers import PORTS, NameServer, Transport, located, parse_nameserver, system_address

UDP, TCP, TLS, HTTPS = Transport.UDP, Transport.TCP, Transport.TLS, Transport.HTTPS


@pytest.mark.parametrize(
    ("spec", "transport", "host", "port", "path"),
    [
        ("system", UDP, "", 53, ""),
        ("192.0.2.53", UDP, "192.0.2.53", 53, ""),
        ("192.0.2.53:5353", UDP, "192.0.2.53", 5353, ""),
        ("2001:db8::1", UDP, "2001:db8::1", 53, ""),
        ("[2001:db8::1]", UDP, "2001:db8::1", 53, ""),
        ("[2001:db8::1]:5353", UDP, "2001:db8::1", 5353, ""),
        ("DNS.contoso.com", UDP, "dns.contoso.com", 53, ""),
        ("udp://dns.contoso.com:5353", UDP, "dns.contoso.com", 5353, ""),
        ("tcp://192.0.2.53", TCP, "192.0.2.53", 53, ""),
        ("tcp://2001:db8::1", TCP, "2001:db8::1", 53, ""),
        ("tls://dns.contoso.com", TLS, "dns.contoso.com", 853, ""),
        ("tls://[2001:db8::1]:8853", TLS, "2001:db8::1", 8853, ""),
        ("https://dns.contoso.com", HTTPS, "dns.contoso.com", 443, "/dns-query"),
        ("https://dns.contoso.com:8443/resolve/me", HTTPS, "dns.contoso.com", 8443, "/resolve/me"),
        ("https://münchen.example/dns-query", HTTPS, "xn--mnchen-3ya.example", 443, "/dns-query"),
    ],
)
def test_a_resolver_is_read(spec: str, transport: Transport, host: str, port: int, path: str) -> None:
    assert parse_nameserver(spec) == NameServer(spec, transport, host, port, path)


def test_the_default_transport_is_for_what_is_no_url() -> None:
    assert parse_nameserver("192.0.2.53", TLS) == NameServer("192.0.2.53", TLS, "192.0.2.53", 853)
    assert parse_nameserver("system", TCP).transport is TCP
    assert parse_nameserver("udp://192.0.2.53", TLS).transport is UDP


@pytest.mark.parametrize(
    "spec",
    [
        "",
        " ",
        "192.0.2.53 ",
        "udp://",
        "quic://192.0.2.53",
        "tls://user:password@dns.contoso.com",
        "tls://dns.contoso.com/path",
        "https://dns.contoso.com/dns-query{?dns}",
        "https://dns.contoso.com/?x=1",
        "https://dns.contoso.com/#x",
        "192.0.2.53:0",
        "192.0.2.53:65536",
        "192.0.2.53:dns",
        "[2001:db8::1",
        "[2001:db8::zz]:53",
        "-",
        "a..b",
    ],
)
def test_what_is_no_resolver_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_nameserver(spec)


@given(st.text(max_size=60) | st.from_regex(r"(udp|tcp|tls|https)://[\[\]a-z0-9.:%/@?#{}\\ -]{0,30}", fullmatch=True))
@example("[::1]]:53")
@example("tls://[")
@example("\0")
def test_any_text_is_a_resolver_or_a_mistake_in_words(spec: str) -> None:
    with suppress(ValueError):
        server = parse_nameserver(spec)
        assert 0 < server.port < 65536
        assert server.host.isascii()
        assert not any(c.isspace() for c in server.host + server.path)
        assert bool(server.host) == (spec != "system")


@given(st.ip_addresses().map(str), st.integers(1, 65535), st.sampled_from(list(Transport)))
def test_every_address_and_port_is_read_back(address: str, port: int, transport: Transport) -> None:
    bracketed = f"[{address}]" if ":" in address else address
    server = parse_nameserver(f"{transport}://{bracketed}:{port}")

    assert (server.host, server.port, server.transport) == (address, port, transport)
    assert parse_nameserver(f"{transport}://{bracketed}").port == PORTS[transport]


def test_the_first_name_server_of_the_machine_counts_and_a_change_too(tmp_path: Path) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("# by hand\nsearch contoso.example\nnameserver not-an-address\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n")
    assert system_address(str(resolv_conf)) == "192.0.2.1"

    replacement = tmp_path / "next"
    replacement.write_text("nameserver fe80::1%eth0 # by the router\n")
    replacement.replace(resolv_conf)
    assert system_address(str(resolv_conf)) == "fe80::1%eth0"


@pytest.mark.parametrize("text", [None, "", "search contoso.example\n"])
def test_without_a_name_server_it_is_the_one_on_this_machine(tmp_path: Path, text: str | None) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    if text is not None:
        resolv_conf.write_text(text)
    assert system_address(str(resolv_conf)) == "127.0.0.1"


def test_a_configuration_that_cannot_be_read_is_this_machines_trouble(tmp_path: Path) -> None:
    with pytest.raises(Inconclusive) as caught:
        system_address(str(tmp_path))
    assert caught.value.reason is Reason.AGENT_RESOURCES
    assert os.fspath(tmp_path) in caught.value.message


def test_a_named_resolver_stays_where_it_is() -> None:
    server = parse_nameserver("192.0.2.53")
    assert located(server) is server
