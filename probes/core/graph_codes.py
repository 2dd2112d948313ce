"""Error codes of Microsoft Graph, and the reason each stands for where it says more than the HTTP status.

From Microsoft's page on errors (learn.microsoft.com/graph/errors) with the further codes it lists, and those that Entra's directory and
Exchange Online are known to answer with. Services spell the same code with a small or a capital first letter, so letters' case is no part
of a code. Apps that depend on codes may break: keep this as data.

A missing licence has no code of its own in most services, nor has a right that is none of Graph's permissions: there only the words of the
message tell. What is known of them is in `TELLING`.
"""

from dataclasses import dataclass

from probes.core.reasons import Reason

_BY_REASON: dict[Reason, str] = {
    Reason.PERMISSION: """
        accessDenied accessRestricted Authorization_RequestDenied Authorization_IdentityDisabled ErrorAccessDenied Forbidden
        ErrorSendAsDenied ErrorImpersonateUserDenied UnauthorizedAccess notAllowed provisioningNotAllowed
        Authentication_RequestFromUnsupportedUserRole Authentication_MSGraphPermissionMissing
    """,
    Reason.LICENCE_MISSING: """
        PaymentRequired AadPremiumLicenseRequired Forbidden_LicensingError
        Authentication_RequestFromNonPremiumTenant Authentication_RequestFromNonPremiumTenantOrB2CTenant
    """,
    Reason.BLOCKED_BY_POLICY: "ExtensionError AccessDeniedByPolicy BlockedByConditionalAccess",
    Reason.APP_CONFIG: "Authorization_IdentityNotFound",
    Reason.NOT_FOUND: """
        itemNotFound ErrorItemNotFound ErrorFolderNotFound ErrorNonExistentMailbox ErrorInvalidUser Request_ResourceNotFound
        ResourceNotFound NotFound MailboxNotEnabledForRESTAPI MailboxNotSupportedForRESTAPI
    """,
    Reason.MAILBOX_FULL: "ErrorQuotaExceeded",
    Reason.STORAGE_FULL: "quotaLimitReached insufficientStorage",
}

_BY_STATUS = """
    unauthenticated InvalidAuthenticationToken Authentication_Unauthorized Authentication_MissingOrMalformed AuthenticationError
    Unauthorized insufficient_claims TokenNotFound
    activityLimitReached throttledRequest TooManyRequests ApplicationThrottled Request_ThrottledTemporarily
    TenantThrottleThresholdExceeded ErrorServerBusy ErrorExceededConnectionCount ErrorExceededMessageLimit
    generalException UnknownError serviceNotAvailable ServiceUnavailable Service_ServiceUnavailable Service_InternalServerError
    InternalServerError BadGateway GatewayTimeout serviceReadOnly
    ErrorInternalServerError ErrorInternalServerTransientError ErrorMailboxStoreUnavailable ErrorMailboxMoveInProgress
    ErrorTimeoutExpired ErrorConnectionFailed
    BadRequest invalidRequest Request_BadRequest Request_UnsupportedQuery InefficientFilter ErrorInvalidRequest ErrorInvalidIdMalformed
    ErrorInvalidRecipients ErrorInvalidParameter ErrorMimeContentInvalidBase64String ErrorMessageSizeExceeded ErrorSendQuotaExceeded
    ErrorPropertyValidationFailure ErrorInvalidUrlQueryFilter RequestBodyRead ErrorIrresolvableConflict
    invalidRange malwareDetected virusSuspicious nameAlreadyExists Conflict notSupported resourceModified resyncRequired
    resyncApplyDifferences resyncUploadDifferences syncStateNotFound Directory_QuotaExceeded Directory_ExpiredPageToken
    Directory_ResultSizeLimitExceeded Directory_ConcurrencyViolation Request_MultipleObjectsWithSameKeyValue
    cannotSnapshotTree childItemCountExceeded entityTagDoesNotMatch fragmentLengthMismatch fragmentOutOfOrder fragmentOverlap
    fragmentRowCountMismatch invalidAcceptType invalidParameterFormat invalidPath invalidQueryOption invalidStartIndex
    lockMismatch lockNotFoundOrAlreadyExpired lockOwnerMismatch locked resourceLocked malformedEntityTag maxDocumentCountExceeded
    maxFileSizeExceeded maxFolderCountExceeded maxFragmentLengthExceeded maxItemCountExceeded maxQueryLengthExceeded
    maxStreamSizeExceeded parameterIsTooLong parameterIsTooSmall pathIsTooLong pathTooDeep propertyNotUpdateable
    resourceBeingProvisioned tooManyResultsRequested tooManyTermsInQuery totalAffectedItemCountExceeded truncationNotAllowed
    uploadSessionFailed uploadSessionIncomplete uploadSessionNotFound zeroOrFewerResultsRequested
"""
"""Codes that say what happened, but not whose move it is better than the status does."""

ACCESS_POLICY = "access_policy"
"""A word of ours for a bare Forbidden: the permission is there, and no application access policy of Teams lets us use it."""
NOT_ENTITLED = "not_entitled"
"""A word of ours for a bare Forbidden: the permission is there, and the person behind the token is not let in."""

REASONS: dict[str, Reason] = {code.lower(): reason for reason, codes in _BY_REASON.items() for code in codes.split()}
"""Code in small letters to reason, where the code knows better than the status.

`ExtensionError` with 403 is a policy of Exchange: the rule for user agents that shuts Graph out as well, an application access policy, or a
mailbox that is kept on premises.
"""


@dataclass(frozen=True, slots=True)
class Telling:
    """Words in a message that say what neither status nor code says. They are in small letters, and count with these statuses alone."""

    statuses: tuple[int, ...]
    words: str
    reason: Reason
    means: str


TELLING = (
    Telling((400,), "does not have a spo license", Reason.LICENCE_MISSING, "the tenant has no licence for SharePoint"),
    Telling((400,), "not applicable to target tenant", Reason.LICENCE_MISSING, "the tenant does not have this service"),
    Telling((403,), "license information for the user", Reason.LICENCE_MISSING, "the user has no licence for Teams"),
    Telling((400, 403), "not provisioned", Reason.LICENCE_MISSING, "the tenant has no licence for this service, or never set it up"),
    Telling((400, 403), "not licensed", Reason.LICENCE_MISSING, "the tenant has no licence for this service"),
    Telling((400,), "auditingdisabledtenant", Reason.BLOCKED_BY_POLICY, "the tenant does not record its audit log"),
    Telling((401, 403), "dont have any permissions", Reason.PERMISSION, "no role lets whoever asks search the audit log"),
)
"""As seen in public reports of such answers; none is documented. With 500 and above no words decide, so that no outage hides."""

_SPELLED = {code.lower(): code for code in " ".join((*_BY_REASON.values(), _BY_STATUS, ACCESS_POLICY, NOT_ENTITLED)).split()}


def spelled(code: str) -> str:
    """Return a known code as it is spelled here, "" for any other."""
    return _SPELLED.get(code.lower(), "")
