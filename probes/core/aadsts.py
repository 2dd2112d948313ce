"""AADSTS numbers of Entra and what each says about whose move is next, as plain data.

The numbers are those of learn.microsoft.com/entra/identity-platform/reference-error-codes. Microsoft may add and change them; one that is
not here is judged by its OAuth error word.
"""

from dataclasses import dataclass

from probes.core.reasons import Reason


@dataclass(frozen=True, slots=True)
class Fault:
    """What a number means. `resource` says that it is about the resource asked for, and says nothing about others."""

    reason: Reason
    resource: bool = False


def _each(reason: Reason, numbers: str, *, resource: bool = False) -> dict[int, Fault]:
    return {int(number): Fault(reason, resource) for number in numbers.split()}


FAULTS: dict[int, Fault] = {
    # The secret is over; an assertion whose times do not fit.
    **_each(Reason.CREDENTIAL_EXPIRED, "7000222 50012 500133 50013 700024"),
    # A certificate that is not registered; a wrong secret, assertion or password, none at all, or a user who cannot sign in with one.
    **_each(Reason.CREDENTIAL_INVALID, "700027 7000215 70002 7000218 700025 700030 50126 50053 50055 50057 50034 50027 700021 700023"),
    # The registration of the application with whom it trusts, the tenant's name, or the request itself.
    **_each(Reason.APP_CONFIG, "700016 700011 7000112 70001 900144 9002313 50194 9001023 50011 900561 700211 700212 700213"),
    **_each(Reason.APP_CONFIG, "90002 90038 900432 900382 50059"),
    **_each(Reason.APP_CONFIG, "500011 70011 28002 1002 700022 650056 650057 65005", resource=True),
    **_each(Reason.CONSENT, "65001 90094 90008 65004", resource=True),
    # A second factor, conditional access, a device that does not comply. A policy may be for one resource only.
    **_each(
        Reason.INTERACTION_REQUIRED,
        "50076 50079 50074 50072 50078 50158 50097 53000 53001 53002 53003 530032 530035 50131 50005",
        resource=True,
    ),
    # Of a device code: pending, bad, expired, malformed.
    **_each(Reason.INTERACTION_REQUIRED, "70016 70018 70019 90119 90120"),
    **_each(Reason.GRANT_DEAD, "70008 700082 70000 50173 70043 50089 50132 50133"),
    # A proxy of the company sends the header that allows only other tenants.
    **_each(Reason.TENANT_RESTRICTED, "500021 500022"),
    # A loop of ours; the tenant as a whole.
    **_each(Reason.THROTTLED, "50196 90055"),
    **_each(Reason.IDENTITY_FAULT, "90033 90006 90012 90024 50033 50000 50087 90090 90091"),
    # Agents of pass-through authentication in the company's own network do not answer Entra.
    **{number: Fault(Reason.IDENTITY_FAULT) for number in range(80001, 80015)},
}
"""Number to meaning."""

ASSERTION_TIMES = frozenset({500133, 700024, 50013})
"""Numbers that a wrong clock of ours brings about as well."""

LABELS = frozenset(f"AADSTS{number}" for number in FAULTS)
"""The numbers as they stand in a label."""
