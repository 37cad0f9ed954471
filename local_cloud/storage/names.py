"""Rules for the names of buckets and objects."""

from __future__ import annotations

import re

from local_cloud.storage.errors import invalid

_MAX_OBJECT_NAME_BYTES = 1024
_MAX_DOTTED_BYTES = 222
_COMPONENT = re.compile(r"[a-z0-9_-]{1,63}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]*[a-z0-9]")
_ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}")


def check_object_name(name: object) -> str:
    """Returns a name that an object may have.

    Raises:
        StorageError: It may not.
    """
    if not isinstance(name, str) or not name:
        raise invalid("Object names must not be empty.", location="name")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise invalid(f"Object names must be UTF-8: {name!a}") from None
    if size > _MAX_OBJECT_NAME_BYTES:
        raise invalid(
            f"The maximum object length is {_MAX_OBJECT_NAME_BYTES} characters, but got a name "
            f"with {size} characters: '{name[:32]}...'",
            xml_code="KeyTooLong",
        )
    if (
        name in (".", "..")
        or "\r" in name
        or "\n" in name
        or name.startswith(".well-known/acme-challenge/")
    ):
        raise invalid(f"Disallowed unicode characters or reserved name: {name!r}")
    return name


def check_bucket_name(name: object) -> str:
    """Returns a name that a bucket may have.

    Raises:
        StorageError: It may not.
    """
    if not isinstance(name, str) or not _is_bucket_name(name):
        raise invalid(f"Invalid bucket name: '{name}'", xml_code="InvalidBucketName")
    return name


def _is_bucket_name(name: str) -> bool:
    components = name.split(".")
    return (
        bool(_BUCKET.fullmatch(name))
        and 3 <= len(name) <= _MAX_DOTTED_BYTES  # noqa: PLR2004 - as documented
        and all(_COMPONENT.fullmatch(component) for component in components)
        and not _ADDRESS.fullmatch(name)
        and not name.startswith("goog")
        and "google" not in name
    )
