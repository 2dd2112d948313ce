"""The machine's resolver as probes see it, against a name server that counts what it is asked."""

import asyncio
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from probes.core.contract import Failed, Inconclusive
from probes.core.reasons import Reason
from probes.lib.resolve import SystemResolver, ascii_host, is_address
from tests.fakes import nameserver
from tests.fakes.nameserver import NameServer
from tests.lib.runs import no_descriptors_left, on_both_loops, open_sockets

ZONE = """
$ORIGIN example.test.
www 300 A 192.0.2.1
www 300 AAAA 2001:db8::1
four 300 A 192.0.2.4
alias 300 CNAME www
text 300 TXT "no address here"
"""


@pytest.fixture(autouse=True)
def one_short_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RES_OPTIONS", "timeout:1 attempts:1")


def asking(*servers: NameServer) -> SystemResolver:
    return SystemResolver(tuple(server.udp for server in servers))


@on_both_loops
async def test_each_lookup_asks_anew() -> None:
    async with nameserver.name_server(nameserver.zone(ZONE)) as server:
        lookup = asking(server)
        for times in (1, 2, 3):
            assert await lookup("four.example.test", socket.AF_INET) == ("192.0.2.4",)
            assert server.asked == [("udp", "four.example.test", "A")] * times


@on_both_loops
async def test_family_selects_and_an_alias_is_followed() -> None:
    async with nameserver.name_server(nameserver.zone(ZONE)) as server:
        lookup = asking(server)
        assert await lookup("alias.example.test", socket.AF_INET6) == ("2001:db8::1",)
        assert await lookup("alias.example.test", socket.AF_INET) == ("192.0.2.1",)
        assert set(await lookup("alias.example.test", socket.AF_UNSPEC)) == {"192.0.2.1", "2001:db8::1"}


def test_the_machines_own_files_count_and_are_read_again(tmp_path: Path) -> None:
    """In a mount namespace, which only root or an allowed user may make."""
    for name in ("hosts", "resolv.conf"):
        (tmp_path / name).touch()
    mount = f"mount --bind {tmp_path}/hosts /etc/hosts && mount --bind {tmp_path}/resolv.conf /etc/resolv.conf"
    inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*inside, mount], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces here (util-linux's unshare, and the right to use it)")
    looked = subprocess.run([*inside, f"{mount} && exec {sys.executable} -m tests.lib.machine"], capture_output=True, check=True, text=True)
    assert json.loads(looked.stdout) == {
        "hosts": "192.0.2.7",
        "changed hosts": "192.0.2.8",
        "search list": "192.0.2.1",
        "asked": ["www.no.test", "www.example.test"],
        "changed server": "192.0.2.2",
        "no search list": "dns_nxdomain",
    }


@on_both_loops
async def test_a_truncated_answer_is_asked_for_again_over_tcp() -> None:
    async with nameserver.name_server(nameserver.many_records(3)) as server:
        assert set(await asking(server)("www.example.test", socket.AF_INET)) == {"10.0.0.0", "10.0.0.1", "10.0.0.2"}
        assert [transport for transport, _, _ in server.asked] == ["udp", "tcp"]


@pytest.mark.parametrize(
    ("behaviour", "host", "reason"),
    [
        pytest.param(nameserver.zone(ZONE), "missing.example.test", Reason.DNS_NXDOMAIN, id="no such name"),
        pytest.param(nameserver.zone(ZONE), "text.example.test", Reason.DNS_NO_DATA, id="no address"),
        pytest.param(nameserver.rcode("SERVFAIL"), "www.example.test", Reason.DNS_SERVFAIL, id="servfail"),
        pytest.param(nameserver.rcode("REFUSED"), "www.example.test", Reason.DNS_REFUSED, id="refused"),
        pytest.param(nameserver.rcode("NOTIMP"), "www.example.test", Reason.DNS_SERVFAIL, id="not implemented"),
        pytest.param(nameserver.silent, "www.example.test", Reason.DNS_TIMEOUT, id="silent"),
        pytest.param(nameserver.zone(ZONE), "a..b", Reason.DNS_NXDOMAIN, id="no name at all"),
    ],
)
@on_both_loops
async def test_a_failed_lookup_has_a_reason(behaviour: nameserver.Behaviour, host: str, reason: Reason) -> None:
    async with nameserver.name_server(behaviour) as server:
        with pytest.raises(Failed) as caught:
            await asking(server)(host)
    assert caught.value.reason is reason
    assert host in caught.value.message


@on_both_loops
async def test_a_resolver_where_nothing_listens_refuses() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    with pytest.raises(Failed) as caught:
        await asking(NameServer(port, 0, 0))("www.example.test")
    assert caught.value.reason is Reason.DNS_REFUSED


@on_both_loops
async def test_dead_names_do_not_hold_up_a_healthy_one() -> None:
    dead_only = nameserver.by_name({"four.example.test": nameserver.zone(ZONE)}, nameserver.silent)
    async with nameserver.name_server(dead_only) as server:
        lookup = asking(server)
        dead = [asyncio.ensure_future(lookup(f"dead{i}.example.test")) for i in range(50)]
        assert await lookup("four.example.test", socket.AF_INET) == ("192.0.2.4",)
        assert not any(task.done() for task in dead)
        for task in dead:
            task.cancel()
        ended = await asyncio.gather(*dead, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended)


@on_both_loops
async def test_a_cancelled_lookup_leaves_nothing_behind() -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
    asked = asyncio.Event()

    def silent(_query: bytes, _transport: str) -> list[bytes]:
        asked.set()
        return []

    async with nameserver.name_server(silent) as server:
        before = open_sockets()
        for _ in range(20):
            task = asyncio.ensure_future(asking(server)("www.example.test"))
            await asked.wait()
            asked.clear()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert open_sockets() == before
    assert complaints == []


@on_both_loops
async def test_a_machine_without_sockets_is_not_the_resolvers_fault() -> None:
    async with nameserver.name_server(nameserver.zone(ZONE)) as server:
        lookup = asking(server)
        with no_descriptors_left(), pytest.raises(Inconclusive) as caught:
            await lookup("www.example.test")
    assert caught.value.reason is Reason.AGENT_RESOURCES


@pytest.mark.parametrize(
    ("written", "ascii_name"),
    [
        ("Example.COM.", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("_sip.example.com", "_sip.example.com"),
    ],
)
def test_names_are_written_as_dns_writes_them(written: str, ascii_name: str) -> None:
    assert ascii_host(written) == ascii_name


@pytest.mark.parametrize("wrong", ["", ".", "a..b", "a b", "-a.example", "a-.example", "x" * 64, "a." * 130 + "b", "a/b", "a\0b", "xn--ü"])
def test_what_is_no_name_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="no host name"):
        ascii_host(wrong)


def test_an_address_is_told_from_a_name() -> None:
    assert [host for host in ("127.0.0.1", "::1", "1.2.3", "1.2.3.4.example", "dead::beef::1", "beef") if is_address(host)] == [
        "127.0.0.1",
        "::1",
    ]
