"""The documents of the XML API: what is answered, and what is parsed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import quote
from xml.etree import ElementTree

from starlette.responses import Response

from local_cloud.errors import ServiceError
from local_cloud.storage.errors import StorageError, invalid
from local_cloud.storage.records import Part, StoredObject, Upload

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
Fields = Iterable[tuple[str, "str | Fields"]]


def document(root: str, fields: Fields, status: int = 200) -> Response:
    """The answer with a document.

    Args:
        root: Name of its outermost element.
        fields: Names and texts, or inner fields, of the elements in it.
        status: Of the answer.
    """
    element = ElementTree.Element(root, xmlns=_NAMESPACE)
    _fill(element, fields)
    text = ElementTree.tostring(element, encoding="UTF-8", xml_declaration=True)
    return Response(text, status, headers={"Content-Type": "application/xml; charset=UTF-8"})


def _fill(element: ElementTree.Element, fields: Fields) -> None:
    for name, value in fields:
        inner = ElementTree.SubElement(element, name)
        if isinstance(value, str):
            inner.text = value
        else:
            _fill(inner, value)


def error_document(error: ServiceError) -> Response:
    """The answer with an error."""
    code = error.xml_code if isinstance(error, StorageError) else "InternalError"
    element = ElementTree.Element("Error")
    _fill(element, [("Code", code), ("Message", error.message)])
    text = ElementTree.tostring(element, encoding="UTF-8", xml_declaration=True)
    return Response(text, error.status, headers={"Content-Type": "application/xml; charset=UTF-8"})


def object_fields(found: StoredObject, *, encoded: bool) -> Fields:
    """An object in a listing.

    Args:
        found: The object.
        encoded: Whether its name is percent-encoded.
    """
    return [
        ("Key", key(found.name, encoded=encoded)),
        ("Generation", str(found.generation)),
        ("MetaGeneration", str(found.metageneration)),
        ("LastModified", found.updated),
        ("ETag", found.xml_etag),
        ("Size", str(found.content.size)),
        ("StorageClass", str(found.fields["storageClass"])),
    ]


def key(name: str, *, encoded: bool) -> str:
    """A name as listings have it."""
    return quote(name, safe="/") if encoded else name


def upload_fields(upload: Upload) -> Fields:
    """An upload in parts, in a listing."""
    return [("Key", upload.name), ("UploadId", upload.id), ("StorageClass", "STANDARD")]


def part_fields(part: Part) -> Fields:
    """A part in a listing."""
    return [
        ("PartNumber", str(part.number)),
        ("LastModified", part.modified),
        ("ETag", part.etag),
        ("Size", str(part.content.size)),
    ]


def parse_parts(text: bytes) -> Sequence[tuple[int, str]]:
    """The numbers and ETags of the parts that an upload is to be put together from.

    Raises:
        StorageError: The document is malformed.
    """
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - from a client on this machine
        found = []
        for part in root.iterfind("{*}Part"):
            number, etag = part.findtext("{*}PartNumber", ""), part.findtext("{*}ETag", "")
            found.append((int(number), f'"{etag.strip().strip(chr(34))}"'))
    except (ElementTree.ParseError, ValueError):
        message = "The XML you provided was not well-formed."
        raise invalid(message, xml_code="MalformedXML") from None
    return found
