"""Why a letter could not be delivered, and the report of it that its sender finds (RFC 3464)."""

from dataclasses import dataclass
from random import Random

from agent.drill.graph.letters import Address, Letter, new_message_id, server_of
from agent.drill.graph.mime import mime_of


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a letter could not be delivered: an enhanced status code (RFC 3463) and the reply of the server that said no."""

    status: str
    reply: str


UNKNOWN_RECIPIENT = Refusal("5.1.10", "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup")
MAILBOX_FULL = Refusal(
    "5.2.2", "554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded"
)
REFUSED = Refusal("5.4.316", "550 5.4.316 Message expired, connection refused(Socket error code 10061)")


def refusal_of(status: str) -> Refusal:
    """Give a refusal with this enhanced status code, in Exchange's words where they are known here."""
    known = {each.status: each for each in (UNKNOWN_RECIPIENT, MAILBOX_FULL, REFUSED)}
    return known.get(status) or Refusal(status, f"550 {status} The message could not be delivered")


def report(letter: Letter, recipient: str, refusal: Refusal, *, domain: str, now: float, random: Random) -> Letter:
    """Give the report that a letter was not delivered, as it lands in the sender's inbox."""
    postmaster = Address(f"MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@{domain}", "Microsoft Outlook")
    fields = (
        f"Final-Recipient: rfc822;{recipient}\r\nAction: failed\r\nStatus: {refusal.status}\r\nDiagnostic-Code: smtp;{refusal.reply}\r\n"
    )
    body = (
        f"Your message to {recipient} couldn't be delivered.\r\n\r\nDiagnostic information for administrators:\r\n\r\n"
        f"Generating server: {server_of(recipient)}\r\n\r\n{recipient}\r\nRemote server returned '{refusal.reply}'\r\n\r\n{fields}"
    )
    boundary = f"_{random.randbytes(12).hex()}_"
    status = f"Reporting-MTA: dns;{server_of(recipient)}\r\n\r\n{fields}"
    return Letter(
        sender=postmaster,
        to=(letter.sender,),
        subject=f"Undeliverable: {letter.subject}",
        body=body,
        kind=f'multipart/report; report-type=delivery-status; boundary="{boundary}"',
        payload=_parts(
            boundary, ("text/plain", body.encode()), ("message/delivery-status", status.encode()), ("message/rfc822", mime_of(letter))
        ),
        message_id=new_message_id(postmaster.address, random),
        sent=now,
        headers=(
            ("In-Reply-To", letter.message_id),
            ("References", letter.message_id),
            ("Auto-Submitted", "auto-replied"),
            ("X-MS-Exchange-Message-Is-Ndr", ""),
            ("X-Failed-Recipients", recipient),
        ),
    )


def _parts(boundary: str, *parts: tuple[str, bytes]) -> bytes:
    """Put parts between boundaries (RFC 2046 5.1)."""
    marked = b"".join(f"--{boundary}\r\nContent-Type: {kind}\r\n\r\n".encode() + content + b"\r\n" for kind, content in parts)
    return marked + f"--{boundary}--\r\n".encode()
