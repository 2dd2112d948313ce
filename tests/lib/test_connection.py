"""One TCP connection: opened, read, written, closed, on both loops, and on one that cannot watch sockets."""

import asyncio
import errno
import hashlib
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from probes.core.context import Context, Shared
from probes.core.contract import Failed, Inconclusive, Secret, Stopped
from probes.core.reasons import Reason
from probes.lib import connect as connecting
from probes.lib.connect import connect, kernel_view
from probes.lib.oserror import REASONS, stopped_by
from probes.lib.tls import CertificateFailed, ClientCertificate, Trust, start_tls
from probes.lib.wire import BUFFER_BYTES, Wire
from tests.fakes import hostile
from tests.fakes.certificates import Flaw, ca_file, client_key_pair, key_pair, server_context
from tests.lib.runs import alerting, context, no_descriptors_left, on_both_loops, open_sockets, phases

TRUST = Trust(ca_file=ca_file())


async def reading(server: hostile.Server, act: Callable[[Wire], Awaitable[object]], *, tls: bool = False) -> object:
    """Return what `act` makes of a connection, or why it stopped."""
    ctx = context()
    async with server as (host, port):
        with await connect(ctx, host, port) as wire:
            if tls:
                await start_tls(ctx, wire, TRUST, host)
            try:
                return await act(wire)
            except Stopped as stopped:
                return stopped.reason


async def whole(wire: Wire) -> bytes:
    found = b""
    while piece := await wire.read_some():
        found += piece
    return found


@pytest.fixture(params=[True, False], ids=["watched", "transport"])
def watched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take our own way of watching sockets, or the loop's transport, as Windows' loop has to."""
    monkeypatch.setattr(connecting, "WATCHES_SOCKETS", request.param)


@pytest.mark.usefixtures("watched")
@on_both_loops
async def test_what_is_sent_comes_back() -> None:
    sent = os.urandom(1_000_000) * 12

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(len(sent)))

    async def both_ways(wire: Wire) -> bool:
        wire.write(sent[:9_000_000])
        wire.write(sent[9_000_000:])
        return await wire.read_exactly(len(sent)) == sent and await wire.read_some() == b""

    for tls in (None, server_context()):
        assert await reading(hostile.serving(echo, tls), both_ways, tls=tls is not None) is True


@pytest.mark.usefixtures("watched")
@on_both_loops
async def test_how_a_connection_ends_is_told() -> None:
    assert await reading(hostile.closes_after(b"abc", waits_for_request=False), whole) == b"abc"
    assert await reading(hostile.resets_after(b"", waits_for_request=False), whole) is Reason.CONNECTION_RESET
    assert (
        await reading(hostile.closes_after(b"abc", waits_for_request=False), lambda wire: wire.read_exactly(4)) is Reason.CONNECTION_RESET
    )
    assert await reading(hostile.closes_after(b"abc", waits_for_request=False), lambda wire: wire.read_line()) is Reason.CONNECTION_RESET


@on_both_loops
async def test_lines_end_with_crlf_or_lf_and_are_bounded() -> None:
    async def three(wire: Wire) -> list[bytes]:
        return [await wire.read_line(), await wire.read_line(), await wire.read_line()]

    assert await reading(hostile.sends(b"one\r\n\r\nthree\nrest"), three) == [b"one", b"", b"three"]
    assert await reading(hostile.sends(b"x" * 100 + b"\n"), lambda wire: wire.read_line(100)) == b"x" * 100
    assert await reading(hostile.sends(b"x" * 101 + b"\n"), lambda wire: wire.read_line(100)) is Reason.PROTOCOL_ERROR
    assert await reading(hostile.garbage(), lambda wire: wire.read_line()) is Reason.PROTOCOL_ERROR


class Spied:
    """A transport that tells when reading has paused."""

    def __init__(self, transport: Any) -> None:
        self.paused = asyncio.Event()
        self.write, self.abort, self.resume_reading = transport.write, transport.abort, transport.resume_reading
        self._pause_reading = transport.pause_reading

    def pause_reading(self) -> None:
        self.paused.set()
        self._pause_reading()


@pytest.mark.usefixtures("watched")
@on_both_loops
async def test_a_flood_nobody_reads_does_not_fill_memory_and_can_be_read_on() -> None:
    async def slowly(wire: Wire) -> bool:
        wire.transport = spied = Spied(wire.transport)
        await wire.read_exactly(1)
        await spied.paused.wait()
        held = len(wire._buffer)
        return held < 8 * BUFFER_BYTES and len(await wire.read_exactly(held + 1_000_000)) == held + 1_000_000

    assert await reading(hostile.endless(b"", b"x" * 65536), slowly) is True


@on_both_loops
async def test_bytes_sent_before_tls_are_refused() -> None:
    async def after_greeting(wire: Wire) -> None:
        await wire.read_line()
        wire.refuse_unread()

    assert await reading(hostile.sends(b"220 go ahead\r\n250 injected\r\n"), after_greeting) is Reason.PROTOCOL_ERROR
    assert await reading(hostile.sends(b"220 go ahead\r\n"), after_greeting) is None


@on_both_loops
async def test_what_tls_cuts_off_without_a_word_is_known() -> None:
    async def farewell(wire: Wire) -> bool:
        await whole(wire)
        return wire.farewell

    async def leaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = hostile.ServerTls()
        await server.until(server.tls.do_handshake, reader, writer)
        server.tls.write(b"abc")
        writer.write(server.outgoing.read())

    assert await reading(hostile.closes_after(b"abc", waits_for_request=False, tls=server_context()), farewell, tls=True) is True
    assert await reading(hostile.serving(leaves), farewell, tls=True) is False


@on_both_loops
async def test_noise_under_tls_is_a_protocol_error() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        half = hostile.ServerTls()
        await half.until(half.tls.do_handshake, reader, writer)
        writer.write(hostile.GARBAGE[:500])
        await reader.read()

    assert await reading(hostile.serving(talk), whole, tls=True) is Reason.PROTOCOL_ERROR


@on_both_loops
async def test_the_kernel_tells_what_it_measured_until_the_connection_closes() -> None:
    async def ask(wire: Wire) -> object:
        await wire.read_line()
        return kernel_view(wire)

    seen = await reading(hostile.sends(b"hello\n"), ask)
    assert isinstance(seen, connecting.KernelView)
    assert 0 < seen.rtt < 1
    assert seen.retransmissions == 0
    left, right = socket.socketpair()
    left.close()
    right.close()
    assert kernel_view(Wire(left, ("127.0.0.1", 1))) is None


@pytest.mark.usefixtures("watched")
@on_both_loops
async def test_nothing_stays_open_whatever_happens() -> None:
    before = open_sockets()
    for server in (hostile.page, hostile.refuses, hostile.drops, hostile.resets_at_once, hostile.tls_stalls, hostile.garbage):
        async with server() as (host, port):
            ctx = context()
            try:
                async with asyncio.timeout(0.05):
                    with await connect(ctx, host, port) as wire:
                        await start_tls(ctx, wire, TRUST, host)
            except (TimeoutError, Stopped):
                pass
    await asyncio.sleep(0)
    assert open_sockets() == before


@on_both_loops
async def test_a_machine_without_descriptors_is_not_the_servers_fault() -> None:
    async with hostile.page() as (host, port):
        with no_descriptors_left(), pytest.raises(Inconclusive) as caught:
            await connect(context(), host, port)
    assert caught.value.reason is Reason.AGENT_RESOURCES


@on_both_loops
async def test_phases_are_named() -> None:
    ctx = context()
    async with hostile.tls_page() as (_, port):
        with await connect(ctx, "localhost", port, family=socket.AF_INET) as wire:
            await start_tls(ctx, wire, TRUST, "localhost")
    assert phases(ctx) == ["resolve", "connect", "tls"]


@on_both_loops
async def test_an_address_with_a_zone_is_no_name() -> None:
    ctx = context()
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server, await connect(ctx, "::1%1", server.getsockname()[1]):
        pass
    assert phases(ctx) == ["connect"]


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET6), ("::1", socket.AF_INET), ("::1%1", socket.AF_INET)])
async def test_an_address_of_another_kind_than_wanted_is_not_connected_to(host: str, family: int) -> None:
    with pytest.raises(Failed, match="not of the kind") as caught:
        await connect(context(), host, 1, family=family)
    assert caught.value.reason is Reason.UNREACHABLE


@pytest.mark.parametrize(
    ("number", "reason", "kind"),
    [
        (errno.ECONNREFUSED, Reason.CONNECT_REFUSED, Failed),
        (errno.ETIMEDOUT, Reason.CONNECT_TIMEOUT, Failed),
        (errno.EHOSTUNREACH, Reason.UNREACHABLE, Failed),
        (errno.ENETUNREACH, Reason.UNREACHABLE, Failed),
        (errno.EPERM, Reason.UNREACHABLE, Failed),
        (errno.ECONNRESET, Reason.CONNECTION_RESET, Failed),
        (errno.EPIPE, Reason.CONNECTION_RESET, Failed),
        (errno.EMFILE, Reason.AGENT_RESOURCES, Inconclusive),
        (errno.ENFILE, Reason.AGENT_RESOURCES, Inconclusive),
        (errno.EADDRNOTAVAIL, Reason.AGENT_RESOURCES, Inconclusive),
        (errno.EXDEV, Reason.UNREACHABLE, Failed),
    ],
)
def test_each_error_of_the_kernel_has_a_reason(number: int, reason: Reason, kind: type[Stopped]) -> None:
    stopped = stopped_by(OSError(number, "Connect call failed"), "192.0.2.1")
    assert (stopped.reason, type(stopped)) == (reason, kind)
    assert stopped.message == f"192.0.2.1: {os.strerror(number).lower()}"


def test_only_the_agents_own_troubles_are_inconclusive() -> None:
    kinds = {
        reason: {type(stopped_by(OSError(number, ""), "")) for number, named in REASONS.items() if named is reason}
        for reason in REASONS.values()
    }
    assert {reason for reason, found in kinds.items() if found == {Inconclusive}} == {Reason.AGENT_RESOURCES}


# Certificates


async def certificate(trust: Trust, flaw: Flaw = Flaw.NONE) -> object:
    ctx = context()
    async with hostile.tls_page(flaw) as (host, port):
        with await connect(ctx, host, port) as wire:
            return await start_tls(ctx, wire, trust, host)


async def test_a_certificate_says_what_it_is() -> None:
    found = await certificate(TRUST)
    assert found is not None
    pem, end, _ = Path(key_pair(Flaw.NONE).certificate).read_text("ascii").partition("-----END CERTIFICATE-----\n")
    der = ssl.PEM_cert_to_DER_cert(pem + end)
    assert getattr(found, "fingerprint_sha256", "") == hashlib.sha256(der).hexdigest()


async def test_a_certificate_that_nobody_can_read_fails_by_its_name_all_the_same(tmp_path: Path) -> None:
    pair = key_pair(Flaw.SELF_SIGNED)
    good = x509.load_pem_x509_certificate(Path(pair.certificate).read_bytes())
    key = serialization.load_pem_private_key(Path(pair.key).read_bytes(), None)
    strange_names = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x04\xa3\x02\x05\x00")
    builder = x509.CertificateBuilder(good.issuer, good.subject, good.public_key(), 1, good.not_valid_before_utc, good.not_valid_after_utc)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    strange = builder.add_extension(strange_names, critical=False).sign(key, hashes.SHA256())
    (tmp_path / "strange.pem").write_bytes(strange.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "strange.pem", pair.key)
    ctx = context()
    async with hostile.page(tls=server) as (host, port):
        with await connect(ctx, host, port) as wire, pytest.raises(CertificateFailed) as caught:
            await start_tls(ctx, wire, TRUST, host)
    assert (caught.value.reason, caught.value.certificate) == (Reason.TLS_UNTRUSTED, None)
    assert ctx.measured == []


async def test_of_several_certificates_the_first_to_expire_counts() -> None:
    ctx = context()
    for flaw in (Flaw.NONE, Flaw.EXPIRED, Flaw.NONE):
        async with hostile.tls_page(flaw) as (host, port):
            with await connect(ctx, host, port) as wire, suppress(CertificateFailed):
                await start_tls(ctx, wire, TRUST, host)
    (sample,) = ctx.measured
    assert sample.value < time.time()


async def test_an_old_tls_version_is_refused_where_a_newer_one_is_wanted() -> None:
    old = server_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    for lowest, reason in (("1.2", None), ("1.3", Reason.TLS_HANDSHAKE)):
        ctx = context()
        async with alerting(old) as (host, port):
            with await connect(ctx, host, port) as wire:
                try:
                    await start_tls(ctx, wire, Trust.model_validate({"ca_file": ca_file(), "min_version": lowest}), host)
                    seen = None
                except Failed as failed:
                    seen = failed.reason
        assert seen is reason


async def test_a_changed_authority_file_counts_from_the_next_handshake_on(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    for flaw, reason in ((Flaw.NONE, None), (Flaw.SELF_SIGNED, Reason.TLS_UNTRUSTED)):
        source = ca_file() if flaw is Flaw.NONE else key_pair(flaw).certificate
        path.write_bytes(Path(source).read_bytes())
        try:
            await certificate(Trust(ca_file=str(path)))
            seen = None
        except Failed as failed:
            seen = failed.reason
        assert seen is reason


async def test_an_encrypted_key_needs_its_password_and_asks_nobody(tmp_path: Path) -> None:
    pair = client_key_pair()
    key = serialization.load_pem_private_key(Path(pair.key).read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"s3cret")
    )
    (tmp_path / "locked.key").write_bytes(locked)
    for password, reason in ((None, Reason.CREDENTIAL_INVALID), ("wrong", Reason.CREDENTIAL_INVALID), ("s3cret", None)):
        given = None if password is None else Secret(inline=password)
        client = ClientCertificate(certificate=pair.certificate, key=str(tmp_path / "locked.key"), password=given)
        try:
            await certificate(Trust(ca_file=ca_file(), client_certificate=client))
            seen = None
        except Failed as stopped:
            seen = stopped.reason
        assert seen is reason


async def test_a_lookup_without_addresses_is_a_failure_of_names() -> None:
    async def nothing(host: str, family: int) -> tuple[str, ...]:  # noqa: ARG001 - the shape of a lookup
        return ()

    ctx = Context("probe", Shared(nothing, lambda _: ""))
    with pytest.raises(Failed, match=r"nowhere\.example: no address") as caught, ctx.step("connect"):
        await connect(ctx, "nowhere.example", 80)
    assert caught.value.reason is Reason.DNS_NO_DATA
