"""A letter as bytes on the wire (RFC 5322), for those who read mail otherwise than by Graph."""

from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP

from agent.drill.graph.letters import Letter, all_headers

_OF_CONTENT = frozenset({"content-type", "content-transfer-encoding", "mime-version"})


def mime_of(letter: Letter) -> bytes:
    """Give the whole message with CRLF: what came as MIME unchanged behind its header, else the body and attachments of Graph."""
    content, payload = _content(letter)
    pairs = [pair for pair in all_headers(letter) if pair[0].lower() not in _OF_CONTENT]
    return (
        "".join(f"{name}: {_written(value)}\r\n" for name, value in (*pairs, ("MIME-Version", "1.0"), *content)).encode()
        + b"\r\n"
        + payload
    )


def _written(value: str) -> str:
    """Write a value on one line of ASCII (RFC 2047)."""
    line = " ".join(value.split())
    return line if line.isascii() else Header(line, "utf-8", maxlinelen=0).encode()


def _content(letter: Letter) -> tuple[list[tuple[str, str]], bytes]:
    """Give the headers that describe the content, and the content."""
    if letter.payload:
        encoding = [("Content-Transfer-Encoding", letter.encoding)] if letter.encoding else []
        return [("Content-Type", letter.kind), *encoding], letter.payload
    made = EmailMessage(SMTP.clone(cte_type="7bit"))
    made.set_content(letter.body, subtype="html" if letter.body_type == "html" else "plain")
    for each in letter.attachments:
        main, _, sub = each.media_type.partition("/")
        made.add_attachment(each.content, maintype=main, subtype=sub or "octet-stream", filename=each.name)
    header = [(name, str(value)) for name, value in made.items() if name.lower() != "mime-version"]
    return header, made.as_bytes().partition(b"\r\n\r\n")[2]
