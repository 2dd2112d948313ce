"""Reads the small texts that mail domains publish: DKIM keys, DMARC, MTA-STS and TLS-RPT records, and the MTA-STS policy."""

import asyncio
import binascii
from base64 import b64decode
from dataclasses import dataclass

from probes.core.context import Context
from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.connect import connect
from probes.lib.http import Request, Response, Wanted, exchange
from probes.lib.tls import Trust, start_tls
from probes.lib.url import Url

HTTPS_PORT = 443
_POLICY_BYTES = 65536
# RFC 8461 section 3.3 tells receivers to limit it to about this.
_OK = 200


def tags(text: str) -> dict[str, str]:
    """Read a list of tags, `v=DMARC1; p=reject` (RFC 6376 section 3.2). Names are in lower case.

    Raises:
        ValueError: where an entry has no `=`, or a tag is there twice.

    """
    found: dict[str, str] = {}
    for entry in text.split(";"):
        name, separator, value = entry.strip().partition("=")
        if not separator and not name:
            continue
        name = name.strip().lower()
        if not separator or not name:
            raise ValueError(f"{entry.strip()!r} is no tag")
        if name in found:
            raise ValueError(f"the tag {name!r} is there twice")
        found[name] = value.strip()
    return found


def dkim_key(text: str) -> bytes:
    """Return the public key of a DKIM record, empty where the text is none or the key was withdrawn (RFC 6376 section 3.6.1)."""
    try:
        found = tags(text)
        key = b64decode("".join(found.get("p", "").split()), validate=True)
    except (ValueError, binascii.Error):
        return b""
    return key if found.get("v", "DKIM1") == "DKIM1" else b""


def dmarc_policy(text: str) -> str:
    """Return the policy of a DMARC record (RFC 7489 section 6.3).

    Raises:
        ValueError: where the record is not valid.

    """
    found = tags(text)
    if next(iter(found), "") != "v":
        raise ValueError("v is not the first tag")
    policy = found.get("p", "").lower()
    if policy not in {"none", "quarantine", "reject"}:
        raise ValueError(f"the policy is {policy!r}, and not none, quarantine or reject")
    if found.get("sp", "none").lower() not in {"none", "quarantine", "reject"}:
        raise ValueError(f"the policy for subdomains is {found['sp']!r}, and not none, quarantine or reject")
    return policy


def mta_sts_id(text: str) -> str:
    """Return the id of an MTA-STS record (RFC 8461 section 3.1).

    Raises:
        ValueError: where the record is not valid.

    """
    identity = tags(text).get("id", "")
    if not (identity.isascii() and identity.isalnum()):
        raise ValueError(f"the id is {identity!r}, and not letters and digits")
    return identity


def tls_rpt_addresses(text: str) -> str:
    """Return where a TLS-RPT record says that reports go (RFC 8460 section 3).

    Raises:
        ValueError: where the record is not valid.

    """
    addresses = tags(text).get("rua", "")
    if not all(address.strip().startswith(("mailto:", "https://")) for address in addresses.split(",")):
        raise ValueError(f"rua is {addresses!r}, and no list of mailto: and https: addresses")
    return addresses


@dataclass(frozen=True, slots=True)
class Policy:
    """An MTA-STS policy: its mode and the mail exchangers it allows, `*.` in front standing for one label."""

    mode: str
    mx: tuple[str, ...]


def parse_policy(text: str) -> Policy:
    """Read an MTA-STS policy (RFC 8461 section 3.2).

    Raises:
        ValueError: where it is not valid.

    """
    pairs = [(key.strip(), value.strip()) for key, separator, value in (line.partition(":") for line in text.splitlines()) if separator]
    single = dict(reversed(pairs))
    hosts = tuple(value.lower().removesuffix(".") for key, value in pairs if key == "mx")
    mode = single.get("mode", "")
    if single.get("version") != "STSv1":
        raise ValueError("its version is not STSv1")
    if mode not in {"enforce", "testing", "none"}:
        raise ValueError(f"its mode is {mode!r}, and not enforce, testing or none")
    if not single.get("max_age", "").isdigit():
        raise ValueError("it has no max_age in seconds")
    if not hosts and mode != "none":
        raise ValueError("it names no mx")
    return Policy(mode, hosts)


def serves(policy: Policy, host: str) -> bool:
    """Say whether the policy allows mail to this host. With mode none it does not care."""
    _, _, parent = host.partition(".")
    return policy.mode == "none" or host in policy.mx or f"*.{parent}" in policy.mx


async def mta_sts_policy(ctx: Context, domain: str, trust: Trust, limit: float) -> Policy:
    """Fetch and read the policy of a domain, within `limit` seconds, from the host that has to serve it.

    Raises:
        Failed: what name, connection, TLS and HTTP give; CONTENT_MISMATCH where it is not valid.

    """
    url = Url("https", f"mta-sts.{domain}", HTTPS_PORT, "/.well-known/mta-sts.txt")
    try:
        async with asyncio.timeout(limit):
            response = await _fetch(ctx, url, trust)
    except TimeoutError as error:
        raise Failed(Reason.TIMEOUT, f"{url}: no answer within {limit:g} s") from error
    if response.status != _OK:
        reason = {3: Reason.HTTP_REDIRECT, 4: Reason.HTTP_4XX, 5: Reason.HTTP_5XX}.get(response.status // 100, Reason.PROTOCOL_ERROR)
        raise Failed(reason, f"{url}: HTTP status {response.status}", code=str(response.status))
    try:
        return parse_policy(response.body.decode(errors="replace"))
    except ValueError as error:
        raise Failed(Reason.CONTENT_MISMATCH, f"the policy at {url} is not valid: {error}") from error


async def _fetch(ctx: Context, url: Url, trust: Trust) -> Response:
    """Fetch without redirects, which RFC 8461 section 3.3 forbids."""
    beside = Context(ctx.probe, ctx.shared)
    with beside.step("fetch"), await connect(beside, url.host, url.port) as wire:
        await start_tls(beside, wire, trust, url.host, alpn=("http/1.1",))
        return await exchange(beside, wire, Request("GET", url).direct, "GET", Wanted(limit=_POLICY_BYTES))
