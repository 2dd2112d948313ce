"""A small server that answers like an agent: the sample exposition, whose counters grow with every scrape."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

SAMPLE = Path(__file__).with_name("sample.prom")

_GROWING = re.compile(r"^(\w+_(?:total|bucket|count|sum)\b.*) ([\d.]+)$", re.MULTILINE)


def exposition(scrape: int) -> bytes:
    """Return the sample as the scrape with this number sees it: counters at so many times their value."""
    return _GROWING.sub(lambda line: f"{line[1]} {float(line[2]) * scrape}", SAMPLE.read_text()).encode()


@contextmanager
def sample_agent() -> Iterator[str]:
    """Serve the sample on a free port of the loopback and yield host:port."""
    scrapes = count(1)

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = exposition(next(scrapes))
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
