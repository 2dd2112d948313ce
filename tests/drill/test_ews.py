"""The simulated EWS by its own words: who gets in, what it refuses and how, and that its judge can say no."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from agent.drill.entra.keys import Keys
from agent.drill.ews import Policy, ews_site
from agent.drill.ews.soap import EwsError, envelope, fault, named, parsed
from agent.drill.faults import Fault, Http, Where
from agent.drill.graph.letters import Address, Letter
from agent.drill.graph.post import Post
from agent.drill.hosting import serve_sites
from agent.drill.world import World
from tests.judges.ews import codes, mistakes, needs_schemas

LONG_AGO = (
    '<t:IsLessThan><t:FieldURI FieldURI="item:DateTimeReceived"/><t:FieldURIOrConstant><t:Constant Value="2020-01-01T00:00:00Z"/>'
    "</t:FieldURIOrConstant></t:IsLessThan>"
)
NONE_OF_OURS = '<m:ItemIds><t:ItemId Id="x"/></m:ItemIds>'
PROBE = "probe1@contoso.example"
FOLDERS = '<m:FolderIds><t:DistinguishedFolderId Id="inbox"/></m:FolderIds>'
GET_FOLDER = f"<m:GetFolder><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape></m:FolderShape>{FOLDERS}</m:GetFolder>"


def asking(content: str, *, who: str = PROBE) -> str:
    identity = f"<t:ConnectingSID><t:PrimarySmtpAddress>{who}</t:PrimarySmtpAddress></t:ConnectingSID>" if who else ""
    header = f"<t:ExchangeImpersonation>{identity}</t:ExchangeImpersonation>" if who else ""
    return (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages"'
        f' xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><s:Header>{header}</s:Header><s:Body>{content}</s:Body></s:Envelope>'
    )


def creating(item: str, disposition: str = "SendOnly") -> str:
    return f'<m:CreateItem MessageDisposition="{disposition}"><m:Items>{item}</m:Items></m:CreateItem>'


def finding(restriction: str, folder: str = "inbox") -> str:
    return (
        '<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>Default</t:BaseShape></m:ItemShape>'
        '<m:IndexedPageItemView MaxEntriesReturned="2" Offset="0" BasePoint="Beginning"/>'
        f'{restriction}<m:ParentFolderIds><t:DistinguishedFolderId Id="{folder}"/></m:ParentFolderIds></m:FindItem>'
    )


def to(address: str, subject: str = "hello") -> str:
    mailbox = f"<t:Mailbox><t:EmailAddress>{address}</t:EmailAddress></t:Mailbox>"
    return f"<t:Message><t:Subject>{subject}</t:Subject><t:ToRecipients>{mailbox}</t:ToRecipients></t:Message>"


class Client:
    """Somebody who writes envelopes by hand."""

    def __init__(self, world: World, session: aiohttp.ClientSession) -> None:
        self.world, self._session = world, session

    def token(self, *, audience: str = "https://outlook.office365.com", ends: float = 3600, **claims: object) -> str:
        now = self.world.now()
        given = {"aud": audience, "nbf": now - 9, "exp": now + ends, "appid": self.world.app_id, "roles": ["full_access_as_app"], **claims}
        return self.world.of(Keys).sign(given)

    async def ask(self, body: str, token: str | None = None, path: str = "/EWS/Exchange.asmx") -> tuple[int, bytes, dict[str, str]]:
        headers = {"Authorization": f"Bearer {self.token() if token is None else token}", "Content-Type": "text/xml; charset=utf-8"}
        async with self._session.post(self.world.url("exchange", path), data=body.encode(), headers=headers) as answer:
            return answer.status, await answer.read(), {name.lower(): value for name, value in answer.headers.items()}

    async def code(self, body: str) -> tuple[int, str]:
        """Return status and ResponseCode."""
        status, answer, _ = await self.ask(body)
        found = next(node for node in parsed(answer).iter() if str(node.tag).endswith("}ResponseCode"))
        return status, str(found.text)


@asynccontextmanager
async def ews(world: World | None = None) -> AsyncIterator[Client]:
    world = world or World()
    async with serve_sites(world, ews_site(world)) as authority:
        trusted = ssl.create_default_context()
        authority.configure_trust(trusted)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusted)) as session:
            world.of(Post).delay = 0.0
            yield Client(world, session)


@pytest.mark.parametrize(
    "claims",
    [{"audience": "https://graph.microsoft.com"}, {"ends": -1}, {"roles": ["Mail.Read"]}],
    ids=["for Graph", "over", "without the right"],
)
async def test_a_token_that_is_not_right_is_refused_with_what_exchange_wants(claims: dict[str, object]) -> None:
    async with ews() as client:
        status, body, headers = await client.ask(asking(GET_FOLDER), client.token(**claims))  # type: ignore[arg-type]
        assert (status, body) == (401, b"")
        assert "00000002-0000-0ff1-ce00-000000000000" in headers["www-authenticate"]
        assert headers["x-ms-diagnostics"].startswith("2000003;")


async def test_without_a_token_nobody_gets_in_wherever_he_knocks() -> None:
    async with ews() as client:
        assert (await client.ask(asking(GET_FOLDER), "", "/owa/"))[0] == 401
        assert (await client.ask(asking(GET_FOLDER), None, "/owa/"))[0] == 404


async def test_an_application_that_is_not_on_the_list_is_refused_without_a_word_until_it_is() -> None:
    async with ews() as client:
        stranger = client.token(appid="0" * 8)
        assert (await client.ask(asking(GET_FOLDER), stranger))[:2] == (403, b"")
        client.world.of(Policy).allowed.add("0" * 8)
        assert (await client.ask(asking(GET_FOLDER), stranger))[0] == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (asking(GET_FOLDER), 200, "NoError"),
        (asking(GET_FOLDER, who="nobody@contoso.example"), 500, "ErrorNonExistentMailbox"),
        (asking(GET_FOLDER, who=""), 500, "ErrorAccessDenied"),
        ("<html>", 500, "ErrorSchemaValidation"),
        (asking(""), 500, "ErrorSchemaValidation"),
        (asking("<m:GetFolder/>"), 500, "ErrorSchemaValidation"),
        (asking("<m:GetRooms/>"), 500, "ErrorInvalidRequest"),
        (asking(GET_FOLDER.replace("inbox", "nowhere")), 200, "ErrorFolderNotFound"),
        (asking(creating(to("probe2@contoso.example"))), 200, "NoError"),
        (asking(creating("<t:Message/>")), 200, "ErrorMissingRecipients"),
        (asking(creating("<t:Message><t:MimeContent>%</t:MimeContent></t:Message>")), 200, "ErrorMimeContentInvalidBase64String"),
        (asking(creating(to(PROBE), "SaveOnly")), 200, "ErrorInvalidOperation"),
        (asking('<m:GetItem><m:ItemShape/><m:ItemIds><t:ItemId Id="x"/></m:ItemIds></m:GetItem>'), 200, "ErrorItemNotFound"),
        (
            asking('<m:DeleteItem DeleteType="HardDelete"><m:ItemIds><t:ItemId Id="x"/></m:ItemIds></m:DeleteItem>'),
            200,
            "ErrorItemNotFound",
        ),
        (asking('<m:ConvertId><m:SourceIds><t:AlternateId Id="x"/></m:SourceIds></m:ConvertId>'), 200, "ErrorInvalidIdMalformed"),
    ],
)
async def test_each_request_has_its_code(body: str, status: int, code: str) -> None:
    async with ews() as client:
        assert await client.code(body) == (status, code)


async def test_what_is_sent_arrives_and_is_found_page_by_page_newest_first() -> None:
    async with ews() as client:
        for subject in ("one", "two", "three"):
            await client.ask(asking(creating(to(PROBE, subject))))
        _, answer, _ = await client.ask(asking(finding("")))
        root = next(parsed(answer).iter(named("m:RootFolder")))
        assert (root.get("TotalItemsInView"), root.get("IncludesLastItemInRange"), root.get("IndexedPagingOffset")) == ("3", "false", "2")
        assert [node.text for node in root.iter(named("t:Subject"))] == ["three", "two"]


@pytest.mark.parametrize(
    ("rule", "count"),
    [
        ('<t:Contains><t:FieldURI FieldURI="item:Subject"/><t:Constant Value="ell"/></t:Contains>', 1),
        ('<t:Contains><t:FieldURI FieldURI="item:Subject"/><t:Constant Value="bye"/></t:Contains>', 0),
        ('<t:Not><t:Exists><t:FieldURI FieldURI="item:InReplyTo"/></t:Exists></t:Not>', 1),
        (LONG_AGO, 0),
    ],
    ids=["a part of the subject", "another subject", "no answer", "long ago"],
)
async def test_a_restriction_restricts(rule: str, count: int) -> None:
    async with ews() as client:
        await client.ask(asking(creating(to(PROBE))))
        _, answer, _ = await client.ask(asking(finding(f"<m:Restriction>{rule}</m:Restriction>")))
        assert len(list(parsed(answer).iter(named("t:Message")))) == count


async def test_a_server_that_is_busy_says_for_how_long() -> None:
    async with ews() as client:
        client.world.of(Policy).busy = 5000
        status, body, _ = await client.ask(asking(GET_FOLDER))
        assert (status, b'Name="BackOffMilliseconds">5000<' in body) == (500, True)


async def test_a_fault_selects_what_it_hits_by_what_is_asked() -> None:
    async with ews() as client:
        client.world.faults.set(Fault(Http((503,)), Where(hosts=frozenset({"exchange"}), operations=frozenset({"mail_send"}))))
        assert (await client.ask(asking(creating(to(PROBE)))))[0] == 503
        assert (await client.ask(asking(GET_FOLDER)))[0] == 200


async def test_a_letter_can_be_deleted_in_each_way() -> None:
    async with ews() as client:
        box = client.world.of(Post).mailbox(PROBE)
        assert box is not None
        folders = []
        for kind in ("MoveToDeletedItems", "SoftDelete", "HardDelete"):
            key = box.store(Letter(Address("a@b.example"), (Address(PROBE),), "s", "b", "<1@b.example>", 0.0), "inbox", 0.0).id
            await client.ask(asking(f'<m:DeleteItem DeleteType="{kind}"><m:ItemIds><t:ItemId Id="{key}"/></m:ItemIds></m:DeleteItem>'))
            folders.append({each.folder for each in box.messages.values()})
        assert folders[-1] == {"deleteditems", "recoverableitemsdeletions", "recoverableitemspurges"}


@needs_schemas
def test_the_judge_refuses_what_is_wrong() -> None:
    good = asking(GET_FOLDER).encode()
    assert mistakes(good) == ""
    assert "Surname" in mistakes(good.replace(b"</m:GetFolder>", b"<t:Surname/></m:GetFolder>"))
    assert mistakes(good.replace(b"IdOnly", b"Everything")) != ""


@needs_schemas
def test_every_code_that_is_said_here_is_one_of_microsofts() -> None:
    said = {word.strip('"(,') for path in Path("agent/drill/ews").glob("*.py") for word in path.read_text(encoding="utf-8").split('"')}
    names = {"Error", "ErrorCode", "ErrorMessage"}
    assert {word for word in said - names if word.startswith("Error") and word.isidentifier()} <= codes()


def test_a_fault_is_one_in_the_form_of_soap() -> None:
    root = parsed(fault(EwsError("ErrorServerBusy", "Later \x00 please.", back_off=9)))
    assert root.find(f".//{named('s:Fault')}/faultcode").text == "a:ErrorServerBusy"
    assert envelope(root)
