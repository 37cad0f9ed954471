"""Errors as Google's APIs answer them, over HTTP and over gRPC."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import grpc

# https://cloud.google.com/apis/design/errors: the canonical code of each HTTP status.
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ALREADY_EXISTS,
    412: grpc.StatusCode.FAILED_PRECONDITION,
    416: grpc.StatusCode.OUT_OF_RANGE,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

# The `reason` of the older JSON APIs (storage, bigquery), where it follows from the status alone.
_REASONS = {
    400: "invalid",
    401: "authError",
    403: "forbidden",
    404: "notFound",
    409: "conflict",
    412: "conditionNotMet",
    416: "requestedRangeNotSatisfiable",
    429: "rateLimitExceeded",
    500: "backendError",
    501: "notImplemented",
    503: "backendError",
}


class ServiceError(Exception):
    """A refusal or failure that the client is told about.

    Attributes:
        status: HTTP status.
        message: What the client's user reads.
        reason: The word for the error in the JSON APIs; by default the usual one of the status.
        location: The parameter at fault, such as ``ifGenerationMatch``, if there is one.
        code: The gRPC status code.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        reason: str | None = None,
        location: str | None = None,
        code: grpc.StatusCode | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.reason = reason or _REASONS.get(status, "unknown")
        self.location = location
        self.code = code or _CODES.get(status, grpc.StatusCode.UNKNOWN)

    def body(self) -> dict[str, Any]:
        """The JSON document of the answer."""
        detail = {"domain": "global", "reason": self.reason, "message": self.message}
        if self.location:
            detail |= {"locationType": "parameter", "location": self.location}
        return {
            "error": {
                "code": self.status,
                "message": self.message,
                "status": self.code.name,
                "errors": [detail],
            }
        }


def internal_error(error: Exception) -> ServiceError:
    """What a client is told of an exception that no part of the service expected."""
    return ServiceError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        f"The local cloud failed: {type(error).__name__}: {error}. Its log has the traceback.",
    )
