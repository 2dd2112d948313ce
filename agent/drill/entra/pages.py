"""The pages that people see: sign-in, error, and the one where they type the code of a device."""

import json
from collections.abc import Iterable
from html import escape

from agent.drill.entra.directory import Account
from agent.drill.entra.errors import EntraError

DEVICE_PAGE = "/common/oauth2/deviceauth"


def _page(title: str, body: str, config: object = None) -> str:
    """Make a page; `config` is the object in which Entra's pages carry what their script shows."""
    script = "" if config is None else f"<script>//<![CDATA[\n$Config={_in_script(config)};\n//]]></script>"
    return f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>{script}</head><body>{body}</body></html>\n'


def _in_script(value: object) -> str:
    """Write JSON that cannot end the script it stands in."""
    return json.dumps(value).replace("<", "\\u003c")


def sign_in(app_name: str, post_url: str) -> str:
    """Make the page that asks who is signing in."""
    config = {"pgid": "ConvergedSignIn", "urlPost": post_url, "sAppName": app_name, "sErrorCode": "", "iErrorCode": 0}
    name = '<input type="email" name="loginfmt" placeholder="Email, phone, or Skype">'
    fields = f'<form method="post">{name}<input type="submit" value="Next"></form>'
    return _page("Sign in to your account", f"<h1>Sign in</h1><p>to continue to {escape(app_name)}</p>{fields}", config)


def refusal(failure: EntraError, trace_id: str, correlation_id: str, now: str) -> str:
    """Make the page that says why nobody can sign in this way."""
    config = {
        "pgid": "ConvergedError",
        "iErrorCode": failure.number,
        "strMainMessage": "Sorry, but we're having trouble signing you in.",
        "strServiceExceptionMessage": str(failure),
        "correlationId": correlation_id,
        "sessionId": trace_id,
    }
    rows = (("Request Id", trace_id), ("Correlation Id", correlation_id), ("Timestamp", now))
    ids = "<dl>" + "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in rows) + "</dl>"
    said = f"<h1>Sign in</h1><p>Sorry, but we're having trouble signing you in.</p><p>{escape(str(failure))}</p>{ids}"
    return _page("Sign in to your account", said, config)


def device(accounts: Iterable[Account], said: str = "") -> str:
    """Make the page where a person types the code, picks who they are, and agrees or does not."""
    people = "".join(
        f'<label><input type="radio" name="user" value="{escape(account.upn)}"> {escape(account.name)} ({escape(account.upn)})</label><br>'
        for account in accounts
    )
    form = (
        f'<form method="post" action="{DEVICE_PAGE}"><input name="otc" placeholder="Code" autofocus autocomplete="off"><p>{people}</p>'
        '<button name="action" value="continue">Continue</button> <button name="action" value="cancel">Cancel</button></form>'
    )
    return _page("Sign in to your account", f"<h1>Enter code</h1><p>{escape(said)}</p>{form}")
