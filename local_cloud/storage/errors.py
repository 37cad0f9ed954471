"""Errors as Cloud Storage words them, each with its code in the XML API."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from local_cloud.errors import ServiceError

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SQLITE_DISK_ERRORS = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
_XML_CODES = {
    400: "InvalidArgument",
    403: "AccessDenied",
    404: "NoSuchKey",
    409: "Conflict",
    412: "PreconditionFailed",
    416: "InvalidRange",
    501: "NotImplemented",
    503: "ServiceUnavailable",
}


class StorageError(ServiceError):
    """A refusal, with the word that the XML API has for it.

    Attributes:
        xml_code: The ``Code`` of the XML API's error document.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        reason: str | None = None,
        location: str | None = None,
        xml_code: str | None = None,
    ) -> None:
        super().__init__(status, message, reason=reason, location=location)
        self.xml_code = xml_code or _XML_CODES.get(status, "InternalError")


def invalid(
    message: str, *, location: str | None = None, xml_code: str | None = None
) -> StorageError:
    """The error for an argument that the service does not accept."""
    reason = "invalidParameter" if location else "invalid"
    return StorageError(400, message, reason=reason, location=location, xml_code=xml_code)


def required(parameter: str) -> StorageError:
    """The error for a parameter that is missing."""
    message = f"Required parameter: {parameter}"
    return StorageError(400, message, reason="required", location=parameter)


def no_bucket() -> StorageError:
    """The error for a bucket that does not exist."""
    return StorageError(404, "The specified bucket does not exist.", xml_code="NoSuchBucket")


def no_object(bucket: str, name: str) -> StorageError:
    """The error for an object that does not exist."""
    return StorageError(404, f"No such object: {bucket}/{name}")


def no_upload() -> StorageError:
    """The error for an upload that was never begun, was cancelled, or is complete."""
    return StorageError(404, "The upload does not exist or is complete.", xml_code="NoSuchUpload")


def not_there(what: str) -> StorageError:
    """The error for what the local Cloud Storage leaves out."""
    return StorageError(501, f"The local Cloud Storage has no {what}.")


def condition_not_met(location: str) -> StorageError:
    """The error for a precondition that does not hold."""
    message = "At least one of the pre-conditions you specified did not hold."
    return StorageError(412, message, location=location)


@contextmanager
def answering_disk_errors() -> Iterator[None]:
    """Turns a disk that takes no more into an error that clients of the service retry.

    Raises:
        StorageError: The disk is full, or a file may not grow further.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise _disk_full(os.strerror(error.errno)) from error
    except sqlite3.OperationalError as error:
        # The extended codes of an I/O error have the plain one in their last byte.
        if error.sqlite_errorcode & 0xFF not in _SQLITE_DISK_ERRORS:
            raise
        raise _disk_full(str(error)) from error


def _disk_full(why: str) -> StorageError:
    return StorageError(503, f"The local Cloud Storage cannot write to its disk: {why}.")
