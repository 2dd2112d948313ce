"""The peer of mail round trips: Debian's prometheus-mailexporter, which submits letters and watches Maildirs for them."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.processes import PROBE_CORE, Watched, program, running
from tests.fakes.certificates import ca_file
from tests.processes import fetch, free_port
from tests.real.mail.dovecot import PASSWORD
from tests.real.mail.ends import address
from tests.real.mail.pair import Pair

_CONFIG = "monitoringinterval: {interval}ms\nstartupoffset: 1ms\nmailchecktimeout: 10s\nservers:\n"
_SERVER = "  - {{name: p{n}, server: localhost, port: {port}, from: {user}, to: {user}, detectiondir: {new}, "
_LOGIN = "login: {user}, passphrase: {password}}}\n"
_DELIVERED = re.compile(r'^mail_deliver_durations_seconds_count\{configname="p\d+"\} (\d+)$', re.MULTILINE)
_STARTS_WITHIN = 25.0
# It delays the start of each of its loops by up to 20 seconds.


@contextmanager
def mailexporter(folder: Path, mail: Pair, names: list[str], interval: float) -> Iterator[tuple[Watched, str]]:
    """Run it pinned to the probing core, with a loop for each mailbox; gives the process and the address of its metrics."""
    port, text = free_port(), _CONFIG.format(interval=int(interval * 1000))
    for n, name in enumerate(names):
        new = mail.dovecot.folder / "mail" / name / "Maildir" / "new"
        text += (_SERVER + _LOGIN).format(n=n, port=mail.postfix.submission, user=address(name), password=PASSWORD, new=new)
    (folder / "mailexporter.yml").write_text(text)
    options = [f"-config.file={folder / 'mailexporter.yml'}", f"-web.listen-address=127.0.0.1:{port}", "-v=0"]
    # Go takes further authorities from this variable only.
    trusting = ["env", f"SSL_CERT_FILE={ca_file()}"]
    with running([*trusting, program("mailexporter"), *options], PROBE_CORE, port, log=folder / "mailexporter.log") as watched:
        yield watched, f"http://127.0.0.1:{port}/metrics"


async def delivered(url: str) -> list[int]:
    """Return how many letters each of its loops has found."""
    _, body, _ = await asyncio.to_thread(fetch, url)
    return [int(count) for count in _DELIVERED.findall(body.decode())]


async def in_full_swing(url: str, loops: int) -> None:
    """Wait until every loop has found a letter."""
    async with asyncio.timeout(_STARTS_WITHIN):
        while len(await delivered(url)) < loops:  # noqa: ASYNC110 - another process, which tells only when asked
            await asyncio.sleep(0.5)
