"""Error codes of Exchange Web Services, and the reason each stands for.

From ResponseCodeType of Microsoft's schema (messages.xsd), as far as a mail probe can meet them. Keep this as data.
"""

from probes.core.reasons import Reason

_BY_REASON: dict[Reason, str] = {
    Reason.PERMISSION: """
        ErrorAccessDenied ErrorSendAsDenied ErrorImpersonateUserDenied ErrorImpersonationDenied ErrorImpersonationFailed
        ErrorCallerIsInvalidADAccount ErrorCreateItemAccessDenied ErrorRecoverableItemsAccessDenied ErrorNoFreeBusyAccess
    """,
    Reason.BLOCKED_BY_POLICY: "ErrorOrganizationAccessBlocked ErrorMessageSubmissionBlocked ErrorAccessDeniedDueToCompliance",
    Reason.NOT_FOUND: """
        ErrorNonExistentMailbox ErrorInvalidSmtpAddress ErrorFolderNotFound ErrorItemNotFound ErrorMailboxConfiguration
        ErrorMailRecipientNotFound
    """,
    Reason.MAILBOX_FULL: "ErrorQuotaExceeded ErrorQuotaExceededOnDelete ErrorMessagePerFolderCountReceiveQuotaExceeded",
    Reason.MAIL_REJECTED: """
        ErrorMessageSizeExceeded ErrorInvalidRecipients ErrorMissingRecipients ErrorMimeContentInvalid ErrorMessageBlocked
        ErrorDataSizeLimitExceeded ErrorExceededMaxRecipientLimit
    """,
    Reason.CREDENTIAL_EXPIRED: "ErrorPasswordExpired",
    Reason.CREDENTIAL_INVALID: "ErrorAccountDisabled ErrorAccountSuspend",
    Reason.INTERACTION_REQUIRED: "ErrorPasswordChangeRequired",
    Reason.THROTTLED: """
        ErrorExceededConnectionCount ErrorTooManyObjectsOpened ErrorSubmissionQuotaExceeded ErrorExceededMessageLimit
        ErrorExceededSubscriptionCount
    """,
    Reason.HTTP_5XX: """
        ErrorServerBusy ErrorInternalServerError ErrorInternalServerTransientError ErrorMailboxStoreUnavailable ErrorMailboxMoveInProgress
        ErrorTimeoutExpired ErrorConnectionFailed ErrorMailboxFailover ErrorADUnavailable ErrorADOperation ErrorProxyCallFailed
        ErrorNoRespondingCASInDestinationSite ErrorRequestAborted ErrorInsufficientResources ErrorMailboxLogonFailed
        ErrorServiceUnavailable
    """,
}

REASONS: dict[str, Reason] = {code: reason for reason, codes in _BY_REASON.items() for code in codes.split()}
"""Code to reason."""
