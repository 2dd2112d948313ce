"""What the process asks of exchangelib: one account, and operations of one or two calls of EWS each.

Its services are called directly: its folder objects would first ask for the root, its query sets in two calls for what one gives, and its
`send` for nothing better. Folders are known by their distinguished names (learn.microsoft.com, DistinguishedFolderId).
"""

import io
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlsplit

import requests
import spnego
from exchangelib import (
    CalendarItem,
    Configuration,
    EWSDateTime,
    EWSTimeZone,
    ExtendedProperty,
    FailFast,
    Message,
    Q,
)
from exchangelib.account import Account
from exchangelib.fields import FieldPath
from exchangelib.folders import Inbox, Root
from exchangelib.properties import (
    DaylightTime,
    DistinguishedFolderId,
    FreeBusyViewOptions,
    ItemId,
    Mailbox,
    MailboxData,
    StandardTime,
    TimeWindow,
    TimeZone,
)
from exchangelib.protocol import BaseProtocol
from exchangelib.restriction import Restriction
from exchangelib.services import CreateItem, DeleteItem, FindItem, GetFolder, GetItem, GetUserAvailability
from exchangelib.transport import NOAUTH
from exchangelib.version import Build, Version
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from probes.lib.mail.ews.worker import Lines

MOST = 100
"""Messages that one look into a folder gives at most."""
_OURS = "fogbell."
# How the Message-ID of every letter of ours begins.
_FIELDS = ("datetime_received", "in_reply_to", "item_class", "message_id", "references", "subject", "tag")
_REPORT = "REPORT."
_REPORT_BYTES = 1 << 18
# What of a report is read at most.
_NEWEST = Version(Build(15, 20, 0, 0), api_version="Exchange2016")
# The version to try first: without it there is one call more. A server that is older says so, and then the next is tried.


class Tag(ExtendedProperty):  # type: ignore[misc] # exchangelib has no types
    """The header that carries our tag."""

    distinguished_property_set_id = "InternetHeaders"
    property_name = "X-Fogbell-Id"
    property_type = "String"


class Carrier(BaseAdapter):
    """Carries the requests of exchangelib to the agent, which has the network. It logs in where that takes a talk of its own: NTLM."""

    lines: ClassVar[Lines]
    ntlm: ClassVar[tuple[str, str] | None] = None
    """User name and password."""

    def __init__(self, **_: object) -> None:
        super().__init__()

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:
        """Make one request.

        Raises:
            requests.ConnectionError: where there is no answer. The agent knows why.

        """
        answer = self._ntlm(request, *self.ntlm) if self.ntlm else self._carried(request, _body(request))
        response = requests.Response()
        response.status_code, response.url, response.request = answer["status"], request.url or "", request
        response.headers = CaseInsensitiveDict(answer["headers"])
        response.raw, response.encoding = io.BytesIO(answer["body"].encode()), "utf-8"
        return response

    def close(self) -> None:
        """Nothing is open here."""

    def _ntlm(self, request: requests.PreparedRequest, name: str, password: str) -> dict[str, Any]:
        """Log in on the connection that the request then goes over (MS-NTHT), bound to its certificate (RFC 5929 tls-server-end-point).

        Raises:
            ValueError: where the server's challenge is none.

        """
        host = urlsplit(request.url or "").hostname or ""
        options = spnego.NegotiateOptions.use_ntlm
        client = spnego.client(name, password, hostname=host, service="http", protocol="ntlm", options=options)
        offer = self._carried(request, "", keep=True, authorization=f"NTLM {b64encode(client.step() or b'').decode()}")
        binding = spnego.channel_bindings.GssChannelBindings(application_data=b"tls-server-end-point:" + b64decode(offer["binding"]))
        try:
            proof = client.step(b64decode(offer["challenge"]), channel_bindings=binding)
        except (spnego.exceptions.SpnegoError, struct.error) as error:
            raise ValueError("no challenge") from error
        return self._carried(request, _body(request), authorization=f"NTLM {b64encode(proof or b'').decode()}")

    def _carried(self, request: requests.PreparedRequest, body: str, *, keep: bool = False, authorization: str = "") -> dict[str, Any]:
        fields = [(name, request.headers[name]) for name in ("Content-Type", "X-AnchorMailbox") if name in request.headers]
        if authorization:
            fields.append(("Authorization", authorization))
        self.lines.write(http={"headers": fields, "body": body, "keep": keep})
        answer = self.lines.read()
        if "status" not in answer:
            raise requests.ConnectionError
        return answer


def _body(request: requests.PreparedRequest) -> str:
    """Return what exchangelib wrote."""
    return request.body.decode() if isinstance(request.body, bytes) else str(request.body or "")


class _Availability(GetUserAvailability):  # type: ignore[misc] # exchangelib has no types
    """Free and busy times as the account: exchangelib leaves out whose they are unless it has the credentials itself."""

    account: Account

    @property
    def _account_to_impersonate(self) -> Any:
        return self.account.identity if self.account.access_type == "impersonation" else None


def open_account(who: Mapping[str, Any], lines: Lines) -> Account:
    """Make the account, which takes no call."""
    Carrier.lines = lines
    Carrier.ntlm = (who["username"], who["password"]) if who["ntlm"] else None
    BaseProtocol.HTTP_ADAPTER_CLS = Carrier
    BaseProtocol.USERAGENT = who["user_agent"]
    BaseProtocol.RETRY_WAIT = 0  # it would say that the server asked for so much patience
    Message.register("tag", Tag)
    config = Configuration(
        service_endpoint=who["url"], credentials=None, auth_type=NOAUTH, retry_policy=FailFast(), version=_NEWEST, max_connections=1
    )
    zone = EWSTimeZone("UTC")
    return Account(who["mailbox"], access_type=who["access"], autodiscover=False, config=config, default_timezone=zone, locale="en_US")


def look(account: Account, asked: Mapping[str, Any]) -> dict[str, int]:
    """Count what is in a folder: the cheapest call that needs the right to the mailbox."""
    folder = _known(account, asked["folder"])
    paths = [FieldPath(field=Inbox.get_field_by_fieldname(name)) for name in ("total_count", "unread_count")]
    _say("GetFolder")
    found = _all(GetFolder(account=account).call(folders=[folder], additional_fields=paths, shape="IdOnly"))[0]
    return {"total": found.total_count or 0, "unread": found.unread_count or 0}


def send(account: Account, asked: Mapping[str, Any]) -> bool:
    """Send a message that is written already, and keep a copy in the sent items where that is wanted."""
    message = Message(account=account, mime_content=asked["mime"].encode("latin-1"))
    how = ("SendAndSaveCopy", _known(account, "sentitems")) if asked["save_copy"] else ("SendOnly", None)
    return bool(_created(account, message, *how))


def find(account: Account, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Find messages of ours in a folder: with one tag, or all of them, or those from before a moment (Unix seconds)."""
    query = _with(asked["tag"])
    if asked["before"] is not None:
        query &= Q(datetime_received__lt=_moment(asked["before"]))
    restriction = Restriction(query, folders=[_known(account, "inbox")], applies_to=Restriction.ITEMS)
    return [_shown(item) for item in _found(account, asked["folder"], restriction, _FIELDS)]


def recent(account: Account, asked: Mapping[str, Any]) -> int:
    """List a folder's messages, as a mail program does when it opens it, and say how many came."""
    return len(_found(account, asked["folder"], None, ("datetime_received", "subject"), asked["most"]))


def headers(account: Account, asked: Mapping[str, Any]) -> list[str]:
    """Return the header of each message as text, with CRLF."""
    items = _got(account, asked["keys"], "headers")
    return ["".join(f"{field.name}: {field.value}\r\n" for field in item.headers or ()) for item in items]


def content(account: Account, asked: Mapping[str, Any]) -> list[str]:
    """Return each message as it came, base64."""
    return [b64encode((item.mime_content or b"")[:_REPORT_BYTES]).decode() for item in _got(account, asked["keys"], "mime_content")]


def remove(account: Account, asked: Mapping[str, Any]) -> int:
    """Delete for good, and say how many were there to be deleted."""
    _say("DeleteItem")
    deleted = DeleteItem(account=account).call(
        items=[ItemId(id=key) for key in asked["keys"]],
        delete_type="HardDelete",
        send_meeting_cancellations="SendToNone",
        affected_task_occurrences="AllOccurrences",
        suppress_read_receipts=True,
    )
    return len(_all(result for result in deleted if type(result).__name__ not in _GONE))


_GONE = frozenset({"ErrorItemNotFound", "ErrorMovedDeletedItem", "ErrorInvalidIdNotAnItemAttachmentId", "ErrorObjectCorrupt"})


def free_busy(account: Account, asked: Mapping[str, Any]) -> str:
    """Ask when a mailbox is free or busy between two moments: a digit for each half hour."""
    service = _Availability(protocol=account.protocol)
    service.account = account
    _say("GetUserAvailability")
    start = _moment(asked["start"])
    begin = {"time": datetime.min.time(), "occurrence": 1, "iso_month": 1, "weekday": "Sunday", "bias": 0}
    views = service.call(
        tzinfo=EWSTimeZone("UTC"),
        mailbox_data=[MailboxData(email=asked["whose"], attendee_type="Required", exclude_conflicts=False)],
        timezone=TimeZone(bias=0, standard_time=StandardTime(**begin), daylight_time=DaylightTime(**begin | {"iso_month": 7})),
        free_busy_view_options=FreeBusyViewOptions(
            time_window=TimeWindow(start=start, end=_moment(asked["end"])),
            merged_free_busy_interval=30,
            requested_view="FreeBusyMerged",
        ),
    )
    return str(_all(views)[0].merged or "")


def create_event(account: Account, asked: Mapping[str, Any]) -> str:
    """Put an event into the calendar, for nobody else, and return its key."""
    start = _moment(asked["start"])
    event = CalendarItem(
        account=account,
        subject=asked["subject"],
        body=asked["body"],
        start=start,
        end=start + timedelta(minutes=asked["minutes"]),
        legacy_free_busy_status="Free",
        reminder_is_set=False,
    )
    key: str = _created(account, event, "SaveOnly", _known(account, "calendar"))[0].id
    return key


def event_subject(account: Account, asked: Mapping[str, Any]) -> str:
    """Read an event back: its subject."""
    return str(_got(account, [asked["key"]], "subject")[0].subject or "")


def events(account: Account, asked: Mapping[str, Any]) -> list[tuple[str, str, float | None]]:
    """Find events whose subject holds a text: the key, the subject and the moment of each one's making."""
    restriction = Restriction(Q(subject__contains=asked["subject"]), folders=[_known(account, "inbox")], applies_to=Restriction.ITEMS)
    found = _found(account, "calendar", restriction, ("subject", "datetime_created"))
    return [(item.id, item.subject or "", item.datetime_created.timestamp() if item.datetime_created else None) for item in found]


def _created(account: Account, item: Any, disposition: str, folder: Any) -> list[Any]:
    _say("CreateItem")
    service = CreateItem(account=account)
    return _all(service.call(items=[item], folder=folder, message_disposition=disposition, send_meeting_invitations="SendToNone"))


def _found(account: Account, folder: str, restriction: Restriction | None, names: Iterable[str], most: int = MOST) -> list[Any]:
    _say("FindItem")
    return _all(
        FindItem(account=account, page_size=most).call(
            folders=[_folder(account, folder)],
            additional_fields=[FieldPath(field=Message.get_field_by_fieldname(name)) for name in names],
            restriction=restriction,
            order_fields=None,
            shape="IdOnly",
            query_string=None,
            depth="Shallow",
            calendar_view=None,
            max_items=most,
            offset=0,
        )
    )


def _got(account: Account, keys: Iterable[str], name: str) -> list[Any]:
    _say("GetItem")
    path = FieldPath(field=Message.get_field_by_fieldname(name))
    return _all(GetItem(account=account).call(items=[ItemId(id=key) for key in keys], additional_fields=[path], shape="IdOnly"))


def _with(tag: str) -> Q:
    """Ask for messages that carry a tag, or with "" any of ours: in the header, in the Message-ID, in that of the one they answer."""
    text = tag or _OURS
    named = Q(message_id__contains=text) | Q(references__contains=text) | Q(in_reply_to__contains=text)
    return named | (Q(tag=tag) | Q(subject__contains=tag) if tag else Q(tag__exists=True))


def _shown(item: Any) -> dict[str, Any]:
    """Say of a message what tells whether it is ours."""
    fields = {"X-Fogbell-Id": item.tag, "Message-ID": item.message_id, "In-Reply-To": item.in_reply_to, "References": item.references}
    named = {**fields, "Subject": item.subject}
    return {
        "key": item.id,
        "report": (item.item_class or "").startswith(_REPORT),
        "delivered": item.datetime_received.timestamp() if item.datetime_received else None,
        "header": "".join(f"{name}: {_line(value)}\r\n" for name, value in named.items() if value),
    }


def _line(value: object) -> str:
    return " ".join(str(value).split())


def _folder(account: Account, name: str) -> DistinguishedFolderId:
    return DistinguishedFolderId(id=name, mailbox=Mailbox(email_address=account.primary_smtp_address))


def _known(account: Account, name: str) -> Inbox:
    """Return a folder object by its distinguished name, without asking for it; of whatever kind it is, this one serves."""
    root = Root(account=account, _distinguished_id=_folder(account, "root"))
    return Inbox(root=root, _distinguished_id=_folder(account, name))


def _all(results: Iterable[Any]) -> list[Any]:
    """Return all results, or raise the first that is an error."""
    found = list(results)
    for each in found:
        if isinstance(each, Exception):
            raise each
    return found


def _moment(seconds: float) -> EWSDateTime:
    return EWSDateTime.from_datetime(datetime.fromtimestamp(int(seconds), UTC).replace(tzinfo=EWSTimeZone("UTC")))


def _say(step: str) -> None:
    Carrier.lines.write(step=step)


_ALL = (look, send, find, recent, headers, content, remove, free_busy, create_event, event_subject, events)
OPERATIONS = {operation.__name__: operation for operation in _ALL}
"""What can be asked for, by name."""
