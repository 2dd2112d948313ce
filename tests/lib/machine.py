"""Looks names up while the machine's own files change. Run by a test in a mount namespace where those are its own.

Prints what was found and what the name servers were asked, as JSON.
"""

import asyncio
import json
import socket
import sys
from pathlib import Path

from probes.core.contract import Failed
from probes.lib.resolve import SystemResolver
from tests.fakes import nameserver

HOSTS, RESOLV_CONF = Path("/etc/hosts"), Path("/etc/resolv.conf")


async def look_up(host: str) -> str:
    try:
        return (await SystemResolver()(host, socket.AF_INET))[0]
    except Failed as error:
        return error.reason


async def look_around() -> dict[str, object]:
    old, new = (nameserver.zone(f"www.example.test. 300 A 192.0.2.{number}") for number in (1, 2))
    found: dict[str, object] = {}
    async with nameserver.name_server(old) as first, nameserver.name_server(new) as second:
        HOSTS.write_text("192.0.2.7 intranet\n")
        RESOLV_CONF.write_text(f"nameserver {first.udp}\nsearch no.test example.test\n")
        found["hosts"] = await look_up("intranet")
        HOSTS.write_text("192.0.2.8 intranet\n")
        found["changed hosts"] = await look_up("intranet")
        found["search list"] = await look_up("www")
        found["asked"] = [name for _, name, _ in first.asked]
        RESOLV_CONF.write_text(f"nameserver {second.udp}\noptions timeout:1 attempts:1\n")
        found["changed server"] = await look_up("www.example.test")
        found["no search list"] = await look_up("www")
    return found


if __name__ == "__main__":
    json.dump(asyncio.run(look_around()), sys.stdout)
