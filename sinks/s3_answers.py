"""What the answers of S3 mean: "Error responses" in the Amazon S3 API Reference."""

from __future__ import annotations

from sinks.aws import EXPIRED_TOKEN, KEYS
from sinks.destination import Hold, Outcome, Retry, TooLarge

DENIED = {"AccessDenied", "AllAccessDisabled"}
_THROTTLED = {
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "OperationAborted",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "XAmzContentSHA256Mismatch",
}
"""What passes; some of it is said with status 400."""
_TOO_LARGE = {"EntityTooLarge", "MaxMessageLengthExceeded"}
_REGION = "set region to that of the bucket"
_MENDING = {
    "NoSuchBucket": "create it, or check bucket and endpoint_url",
    "InvalidBucketName": "check bucket",
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "PermanentRedirect": _REGION,
    "301": _REGION,
    "InvalidAccessKeyId": "check access_key_id",
    "SignatureDoesNotMatch": "check secret_access_key",
    "ExpiredToken": EXPIRED_TOKEN,
    "TokenRefreshRequired": EXPIRED_TOKEN,
    "InvalidToken": "check session_token",
    "MissingSecurityHeader": f"check {KEYS}",
    "RequestTimeTooSkewed": "check this machine's clock",
    "RequestExpired": "check this machine's clock",
    "InvalidStorageClass": "check storage_class",
    "KeyTooLongError": "shorten prefix",
    "KMS.NotFoundException": "check kms_key_id",
    "KMS.DisabledException": "enable the key, or check kms_key_id",
    "KMS.KMSInvalidStateException": "enable the key, or check kms_key_id",
    "NotImplemented": "this store lacks something: leave out storage_class, server_side_encryption and kms_key_id",
}


ALLOW = "allow these credentials s3:PutObject on the objects under prefix, and kms:GenerateDataKey on kms_key_id"


def read_error(status: int, code: str, message: str, allow: str = ALLOW) -> Outcome:
    """Return what an error of the service means. Records are never at fault, but for an object that is too large.

    Args:
        status: Of the HTTP answer.
        code: The error's code, such as SlowDown.
        message: Its words, without any secret.
        allow: What to do where the credentials may not.
    """
    reason = f"{status} {code}: {message}"
    # 501 is said of what the store will never do.
    if code in _THROTTLED or status in {408, 429} or (status >= 500 and code != "NotImplemented"):  # noqa: PLR2004
        return Retry(reason)
    if code in _TOO_LARGE or status == 413:  # noqa: PLR2004
        return TooLarge(reason)
    if code in _MENDING:
        mend = _MENDING[code]
    elif code in DENIED or status in {401, 403}:
        mend = allow
    else:
        mend = "check bucket, region and endpoint_url"
    return Hold(f"{reason}: {mend}")
