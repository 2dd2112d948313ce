"""Numbers and settings in words."""

import pytest

from agent.words import ago, duration, plain_name, reading, span, target, timestamp
from probes.core.contract import Settings
from tests.web.samples import DOMAIN, LOGIN, MX, SHAREPOINT, SMTP, Name, Port, Web


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0.00 ms"),
        (0.00042, "0.42 ms"),
        (0.0042, "4.2 ms"),
        (0.042, "42 ms"),
        (0.999, "999 ms"),
        (1.236, "1.24 s"),
        (59.0, "59.00 s"),
        (125.0, "2 min 5 s"),
    ],
)
def test_a_duration_has_about_three_digits(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (12.9, "12 s"), (60, "1 min"), (200, "3 min 20 s"), (18_120, "5 h 2 min"), (349_200, "4 d 1 h"), (86_400, "1 d")],
)
def test_a_span_has_its_two_largest_units(seconds: float, words: str) -> None:
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("moment", "words"), [(1000.0, "just now"), (1001.0, "just now"), (970.0, "30 s ago"), (940.0, "1 min ago"), (-100_000.0, "1 d ago")]
)
def test_a_moment_is_so_long_ago(moment: float, words: str) -> None:
    assert ago(moment, 1000.0) == words


def test_a_timestamp_is_in_utc() -> None:
    assert timestamp(1_763_893_800.9) == "2025-11-23T10:30:00Z"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("certificate_expiry_timestamp_seconds", 1_763_893_800.0, "2025-11-23T10:30:00Z"),
        ("certificate_expiry_timestamp_seconds", 9e15, "9000000000000000"),
        ("ttl_seconds", 3600.0, "1 h"),
        ("body_bytes", 18211.0, "18,211"),
        ("ratio", 0.25, "0.25"),
        ("version", 2_026_102_900.0, "2026102900"),
        ("ratio", float("nan"), "nan"),
        ("rate", float("inf"), "inf"),
    ],
)
def test_a_measured_value_reads_as_its_unit(name: str, value: float, words: str) -> None:
    assert reading(value, name) == words


@pytest.mark.parametrize(
    ("name", "plain"),
    [("certificate_expiry_timestamp_seconds", "certificate expiry"), ("ttl_seconds", "ttl"), ("body_bytes", "body bytes")],
)
def test_a_measurement_is_named_in_plain_words(name: str, plain: str) -> None:
    assert plain_name(name) == plain


class Trip(Settings):
    send: Port
    """One end."""
    receive: Name
    """The other."""


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (MX.settings, "contoso.com MX"),
        (SMTP.settings, "contoso-com.mail.protection.outlook.com:25"),
        (LOGIN.settings, "https://login.microsoftonline.com/common/.well-known/openid-configuration"),
        (DOMAIN.settings, "contoso.com A"),
        (Settings(), ""),
        (Web(url="http://[broken"), ""),
        (Web(url="https://[::1]:8443/x"), "https://[::1]:8443/x"),
        (Trip(send=Port(host="mx.test", port=25), receive=Name(query="inbox")), "mx.test:25 → inbox A"),
    ],
)
def test_a_target_is_what_the_settings_point_at(settings: Settings, words: str) -> None:
    assert target(settings) == words


@pytest.mark.parametrize("settings", [SHAREPOINT.settings, Web(url="https://user:s3cret@contoso.sharepoint.com/")])
def test_a_target_shows_neither_login_nor_query_values(settings: Settings) -> None:
    assert "s3cret" not in target(settings)
    assert "contoso.sharepoint.com" in target(settings)
