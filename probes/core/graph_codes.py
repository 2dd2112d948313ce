"""Error codes of Microsoft Graph, and the reason each stands for where it says more than the HTTP status.

From Microsoft's page on errors (learn.microsoft.com/graph/errors) with the further codes it lists, and those that Entra's directory and
Exchange Online are known to answer with. Services spell the same code with a small or a capital first letter, so letters' case is no part
of a code. Apps that depend on codes may break: keep this as data.
"""

from probes.core.reasons import Reason

_BY_REASON: dict[Reason, str] = {
    Reason.PERMISSION: """
        accessDenied accessRestricted Authorization_RequestDenied Authorization_IdentityDisabled ErrorAccessDenied Forbidden
        ErrorSendAsDenied ErrorImpersonateUserDenied UnauthorizedAccess notAllowed provisioningNotAllowed
        Authentication_RequestFromNonPremiumTenantOrB2CTenant Authentication_RequestFromUnsupportedUserRole AadPremiumLicenseRequired
        PaymentRequired
    """,
    Reason.BLOCKED_BY_POLICY: "ExtensionError AccessDeniedByPolicy BlockedByConditionalAccess",
    Reason.APP_CONFIG: "Authorization_IdentityNotFound",
    Reason.NOT_FOUND: """
        itemNotFound ErrorItemNotFound ErrorFolderNotFound ErrorNonExistentMailbox ErrorInvalidUser Request_ResourceNotFound
        ResourceNotFound NotFound MailboxNotEnabledForRESTAPI MailboxNotSupportedForRESTAPI
    """,
    Reason.MAILBOX_FULL: "ErrorQuotaExceeded",
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
    invalidRange malwareDetected virusSuspicious nameAlreadyExists Conflict notSupported quotaLimitReached resourceModified resyncRequired
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

REASONS: dict[str, Reason] = {code.lower(): reason for reason, codes in _BY_REASON.items() for code in codes.split()}
"""Code in small letters to reason, where the code knows better than the status.

A missing licence (402 and its codes) is a right that we lack, hence `permission`. `ExtensionError` with 403 is a policy of Exchange: the
rule for user agents that shuts Graph out as well, an application access policy, or a mailbox that is kept on premises.
"""

_SPELLED = {code.lower(): code for code in " ".join((*_BY_REASON.values(), _BY_STATUS)).split()}


def spelled(code: str) -> str:
    """Return a known code as it is spelled here, "" for any other."""
    return _SPELLED.get(code.lower(), "")
