"""What tests of SMTP share: a letter, settings for a server of theirs, and one submission."""

from typing import Any

import pytest

from probes.core.context import Context, Shared
from probes.core.contract import Stopped
from probes.lib.mail.ends import Accepted
from probes.lib.mail.letter import Letter, Template, new_letter
from probes.lib.mail.smtp import SmtpSend, outbox
from tests.fakes import smtp
from tests.fakes.certificates import ca_file
from tests.lib.signing_in import inline
from tests.probes.pages import lookup

SENDER, RECIPIENT = "probe1@contoso.example", "probe2@contoso.example"
PASSWORD = {"inline": "correct horse"}
TRUST = {"ca_file": ca_file()}


def letter(recipient: str = RECIPIENT, sender: str = SENDER, **template: str) -> Letter:
    return new_letter("mail", sender, recipient, Template(**template))


def sending(mail: smtp.Mail, **settings: Any) -> SmtpSend:
    return SmtpSend.model_validate({"via": "smtp", "host": mail.host, "port": mail.port, "from": SENDER, "tls": TRUST, **settings})


async def submit(settings: SmtpSend, what: Letter, ctx: Context | None = None) -> Accepted:
    ctx = ctx or new_context()
    with ctx.step("submit"):
        return await outbox(settings).submit(ctx, what)


def new_context(among: Shared | None = None) -> Context:
    return Context("mail", among or Shared(lookup, inline), tenant="contoso")


async def refused(answers: dict[str, str], what: Letter | None = None, **settings: Any) -> tuple[Stopped, Context]:
    """Return what a submission to this server raises, and the run."""
    ctx = new_context()
    async with smtp.server(answers) as mail:
        with pytest.raises(Stopped) as caught:
            await submit(sending(mail, **{"password": PASSWORD, **settings}), what or letter(), ctx)
    return caught.value, ctx
