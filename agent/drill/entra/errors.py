"""The failures of Entra by AADSTS number: what the OAuth error is called, which HTTP status it has, and what the sentence says.

Numbers, names and meanings are those of Microsoft's page "Microsoft Entra authentication and authorization error codes"; OAuth errors and
statuses of the common ones were seen in public recordings. Where neither tells, a number has the usual `invalid_grant` and 400.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

ERROR_URI = "https://login.microsoftonline.com/error?code="


@dataclass(frozen=True, slots=True)
class Failure:
    """One number: sentence with words in braces, OAuth error, HTTP status, and `suberror` where there is one."""

    text: str
    error: str = "invalid_grant"
    status: int = 400
    suberror: str = ""


def _client(text: str) -> Failure:
    """Refuse a credential of the app."""
    return Failure(text, "invalid_client", 401)


def _request(text: str) -> Failure:
    return Failure(text, "invalid_request")


def _transient(text: str) -> Failure:
    """Admit a fault of Entra's own."""
    return Failure(text, "temporarily_unavailable", 503)


def _interaction(text: str) -> Failure:
    """Ask for what only a person at a browser can do."""
    return Failure(text, suberror="basic_action")


def _dead(text: str) -> Failure:
    return Failure(text, suberror="bad_token")


_NO_SUCH_CERTIFICATE = (
    "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - {reason}]"
)

FAILURES: Mapping[int, Failure] = {
    # credentials of the app
    50012: _client("Client assertion contains an invalid signature."),
    50013: _client("Assertion failed signature validation or is not within its valid time range."),
    70002: _client("Error validating credentials."),
    700021: _client("Client assertion application identifier doesn't match 'client_id' parameter."),
    700023: _client("Client assertion audience claim does not match Realm issuer."),
    700024: _client(
        "Client assertion is not within its valid time range. Current time: {now}, assertion valid from {start}, "
        "expiry time of assertion {end}."
    ),
    700025: _client("Client is public so neither 'client_assertion' nor 'client_secret' should be presented."),
    700027: _client(_NO_SUCH_CERTIFICATE),
    700030: _client("Invalid certificate - subject name in certificate is not authorized."),
    700211: _client("No matching federated identity record found for presented assertion issuer '{issuer}'."),
    700212: _client("No matching federated identity record found for presented assertion audience '{audience}'."),
    700213: _client("No matching federated identity record found for presented assertion subject '{subject}'."),
    7000215: _client(
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, "
        "not the client secret ID, for a secret added to app '{app}'."
    ),
    7000218: _client("The request body must contain the following parameter: 'client_assertion' or 'client_secret'."),
    7000222: _client("The provided client secret keys for app '{app}' are expired. Create new keys for your app in the portal."),
    50027: _request("JWT token is invalid or malformed."),
    500133: Failure("Assertion is not within its valid time range. Ensure that the access token is not expired before using it."),
    # the app
    70001: Failure("Application '{app}' is disabled.", "unauthorized_client"),
    700011: Failure("Application with identifier '{app}' was not found in the directory '{tenant}'.", "unauthorized_client"),
    700016: Failure(
        "Application with identifier '{app}' was not found in the directory '{tenant}'. This can happen if the application has not been "
        "installed by the administrator of the tenant or consented to by any user in the tenant.",
        "unauthorized_client",
    ),
    7000112: Failure("Application '{app}' is disabled.", "unauthorized_client"),
    50011: _request("The redirect URI '{redirect}' specified in the request does not match those configured for the application '{app}'."),
    50194: _request("Application '{app}' is not configured as a multi-tenant application. Use a tenant-specific endpoint."),
    500011: Failure("The resource principal named {resource} was not found in the tenant named {tenant}.", "invalid_resource"),
    650056: Failure("Misconfigured application. The client has not listed any permissions for '{resource}'.", "invalid_client"),
    650057: Failure("Invalid resource. The client has requested access to a resource which is not listed.", "invalid_resource"),
    65005: Failure("The application required resource access list does not contain '{resource}'.", "invalid_client"),
    1002: Failure("The scope {scope} is not valid.", "invalid_scope"),
    28002: Failure("Provided value for the input parameter scope '{scope}' is not valid when requesting an access token.", "invalid_scope"),
    70011: Failure("The provided value for the input parameter 'scope' is not valid. The scope {scope} is not valid.", "invalid_scope"),
    700022: Failure("The provided value for the input parameter scope is not valid: more than one resource.", "invalid_scope"),
    1002012: Failure(
        "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with /.default suffixed "
        "to the resource identifier (application ID URI).",
        "invalid_scope",
    ),
    70003: Failure("The app requested an unsupported grant type '{grant}'.", "unsupported_grant_type"),
    700054: Failure("response_type '{response_type}' is not enabled for the application.", "unsupported_response_type"),
    900144: _request("The request body must contain the following parameter: '{parameter}'."),
    900561: _request("The endpoint only accepts POST, OPTIONS requests. Received a {method} request."),
    9001023: _request("The grant type is not supported over the /common or /consumers endpoints."),
    9002313: _request("Invalid request. Request is malformed or invalid."),
    # consent
    65001: Failure(
        "The user or administrator has not consented to use the application with ID '{app}'. Send an interactive authorization request.",
        suberror="consent_required",
    ),
    65004: Failure("User declined to consent to access the app.", "access_denied"),
    90008: Failure("The user or administrator has not consented to use the application with ID '{app}'.", "unauthorized_client"),
    90094: Failure("Admin consent is required for the permissions requested by this application.", "access_denied"),
    # a person is needed
    50005: _interaction("User tried to log in to a device from a platform not supported through Conditional Access policy."),
    50058: Failure("Session information is not sufficient for single-sign-on.", "login_required"),
    50072: _interaction("Due to a configuration change, the user needs to enroll in multi-factor authentication."),
    50074: _interaction("Strong Authentication is required."),
    50076: _interaction(
        "Due to a configuration change made by your administrator, or because you moved to a new location, you must use "
        "multi-factor authentication to access '{resource}'."
    ),
    50078: _interaction("Presented multi-factor authentication has expired due to policies configured by your administrator."),
    50079: _interaction("Due to a configuration change, you must enroll in multi-factor authentication to access '{resource}'."),
    50097: _interaction("Device authentication is required."),
    50131: _interaction("Sign-in was blocked by a Conditional Access policy of the device or location."),
    50158: _interaction("External security challenge was not satisfied."),
    53000: Failure("Device is not in required device state: compliant.", suberror="message_only"),
    53001: Failure("Device is not in required device state: domain joined.", suberror="message_only"),
    53002: Failure("The app being used is not an approved app for Conditional Access.", suberror="message_only"),
    53003: Failure(
        "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.", suberror="message_only"
    ),
    530032: Failure("User blocked due to risk on home tenant.", suberror="message_only"),
    530035: Failure("Access has been blocked by security defaults.", suberror="message_only"),
    # grants and people
    50034: Failure("The user account does not exist in the {tenant} directory."),
    50053: Failure("The account is locked, you've tried to sign in too many times, or the address is known to be malicious."),
    50055: Failure("The password is expired.", suberror="user_password_expired"),
    50057: Failure("The user account is disabled."),
    50089: _dead("Authentication failed due to flow token expired."),
    50126: Failure("Error validating credentials due to invalid username or password."),
    50132: _dead("Session is invalid due to password expiration or recent password change."),
    50133: _dead("Session is invalid due to expiration or recent password change."),
    50173: _dead(
        "The provided grant has expired due to it being revoked, a fresh auth token is needed. The grant was issued on '{start}' and the "
        "TokensValidFrom date (before which tokens are not valid) for this user is '{end}'."
    ),
    70000: _dead("Provided grant is invalid or malformed."),
    70008: _dead("The provided authorization code or refresh token has expired due to inactivity."),
    700082: Failure(
        "The refresh token has expired due to inactivity. The token was issued on {start} and was inactive for {period}.",
        suberror="bad_token",
    ),
    70043: _dead("The refresh token has expired or is invalid due to sign-in frequency checks by Conditional Access."),
    # device codes
    70016: Failure("OAuth 2.0 device flow error. Authorization is pending. Continue polling.", "authorization_pending"),
    70018: Failure("The code that you entered is not known. Check it and try again.", "bad_verification_code"),
    70019: Failure("Verification code expired.", "expired_token"),
    70020: Failure("The provided value for the input parameter 'device_code' is not valid. This device code has expired.", "expired_token"),
    90119: Failure("The user code is missing.", "invalid_request"),
    90120: Failure("The user code is not valid.", "invalid_request"),
    # tenant and cloud
    50059: _request("No tenant-identifying information found in either the request or implied by any provided credentials."),
    500021: Failure("Access to '{tenant}' tenant is denied.", "access_denied"),
    500022: Failure("Access to '{tenant}' tenant is denied by the restriction of your network.", "access_denied"),
    90002: _request(
        "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."
    ),
    90038: _request("Tenant '{tenant}' request is being redirected to the National Cloud."),
    900382: _request("Confidential Client is not supported in Cross Cloud request."),
    900432: _request("Confidential Client is not supported in Cross Cloud request."),
    # too often
    50196: Failure("The server terminated an operation because it encountered a client request loop. Please contact your app vendor."),
    90055: Failure("There are too many incoming requests to this tenant.", "temporarily_unavailable", 429),
    # Entra's own
    50000: Failure("There was an error issuing a token or an issue with our sign-in service.", "server_error", 500),
    50033: _transient("A transient error has occurred. Please try again."),
    50087: _transient("A transient error has occurred during single sign-out."),
    80001: _transient("Authentication Agent unable to connect to Active Directory."),
    80002: _transient("Authentication Agent's password validation request timed out."),
    80005: _transient("Authentication Agent encountered an error while processing the response."),
    80007: _transient("Authentication Agent unable to validate user's password."),
    80010: _transient("Authentication Agent unable to decrypt password."),
    80014: _transient("Validation request responded after maximum elapsed time exceeded."),
    90006: _transient("The service is temporarily unavailable. Please retry later."),
    90012: _transient("The request has timed out."),
    90024: _transient("Request budget exceeded. A transient error has occurred. Please try again."),
    90033: _transient("A transient error has occurred. Please try again."),
    90090: _transient("The service is temporarily unavailable. Please retry later."),
    90091: _transient("The service is temporarily unavailable. Please retry later."),
}


class EntraError(Exception):
    """A refusal by number; `words` fill the sentence, `error` and `status` replace what the table has."""

    def __init__(self, number: int, *, error: str = "", status: int = 0, **words: object) -> None:
        failure = FAILURES.get(number, Failure("The request cannot be processed."))
        self.number = number
        self.error = error or failure.error
        self.status = status or failure.status
        self.suberror = failure.suberror
        self.text = failure.text.format_map(defaultdict(str, words))
        super().__init__(f"AADSTS{number}: {self.text}")


def stamp(seconds: float) -> str:
    """Write Unix seconds as Entra does."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%SZ}"


def body(failure: EntraError, trace_id: str, correlation_id: str, now: float) -> dict[str, Any]:
    """Make the JSON object of a refusal."""
    lines = (str(failure), f"Trace ID: {trace_id}", f"Correlation ID: {correlation_id}", f"Timestamp: {stamp(now)}")
    found = {
        "error": failure.error,
        "error_description": "\r\n".join(lines),
        "error_codes": [failure.number],
        "timestamp": stamp(now),
        "trace_id": trace_id,
        "correlation_id": correlation_id,
        "error_uri": f"{ERROR_URI}{failure.number}",
    }
    return {**found, "suberror": failure.suberror} if failure.suberror else found
