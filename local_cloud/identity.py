"""Who the local cloud is to its clients: a certificate authority, and a service account's key.

Both are made when a directory is first used and are good for nothing outside of it.
"""

from __future__ import annotations

import datetime
import functools
import ipaddress
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from local_cloud.files import Files, write_atomically
from local_cloud.settings import Settings

_PRIVATE = 0o600
_YEARS = datetime.timedelta(days=3650)
_RSA_BITS = 2048


def service_account_email(project: str) -> str:
    """The name of the service account that clients are."""
    return f"local-cloud@{project}.iam.gserviceaccount.com"


def prepare_identity(
    files: Files, settings: Settings, hosts: Sequence[str], outer_bundle: Path | None
) -> None:
    """Makes what a directory does not have yet, and brings the rest in line with the settings.

    Args:
        files: Where they are.
        settings: Name the project and the ports.
        hosts: The names, also with ``*.``, that the gateway answers for.
        outer_bundle: Authorities that are trusted besides, for the hosts that are passed through.
    """
    for folder in (files.authority.parent, files.trusted.parent):
        folder.mkdir(exist_ok=True)
    # The certificate is the last one written: when it is there, the others are.
    if not files.server.exists():
        _make_certificates(files, hosts)
    bundle = files.authority.read_text()
    if outer_bundle is not None:
        bundle += outer_bundle.read_text()
    write_atomically(files.trusted, bundle)
    document = _service_account(files.service_account, settings)
    write_atomically(files.service_account, json.dumps(document, indent=2) + "\n", _PRIVATE)


def sign(service_account: Path, message: bytes) -> bytes:
    """Signs as the service account does: RSA with SHA-256, as ``signBlob`` is documented."""
    key = _load_key(json.loads(service_account.read_text())["private_key"])
    return key.sign(message, padding.PKCS1v15(), hashes.SHA256())


@functools.cache  # To check the key takes more time than to sign with it.
def _load_key(pem: str) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)  # noqa: S101 - made below
    return key


def _service_account(path: Path, settings: Settings) -> dict[str, Any]:
    earlier = json.loads(path.read_text()) if path.exists() else {}
    key = earlier.get("private_key") or _pem(
        rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    )
    project = settings.projects[0]
    return {
        "type": "service_account",
        "project_id": project,
        "private_key_id": earlier.get("private_key_id") or os.urandom(20).hex(),
        "private_key": key,
        "client_email": service_account_email(project),
        "client_id": "100000000000000000000",
        "auth_uri": settings.url("gateway") + "/auth",
        "token_uri": settings.url("gateway") + "/token",
        # What clients on Rust's object_store (obstore, Polars, delta-rs) look for in this file.
        "gcs_base_url": settings.url("storage"),
        "disable_oauth": True,
    }


def _make_certificates(files: Files, hosts: Sequence[str]) -> None:
    authority_key = ec.generate_private_key(ec.SECP256R1())
    # A name of its own for each directory: a client that trusts two must not mistake them.
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"local_cloud {os.urandom(4).hex()}")]
    )
    authority = (
        _certificate(name, name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    server_key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.DNSName(host) for host in ("localhost", *hosts)]
    names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    server = (
        _certificate(_name("local_cloud gateway"), name, server_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    write_atomically(files.authority_key, _pem(authority_key), _PRIVATE)
    write_atomically(files.authority, _certificate_pem(authority))
    write_atomically(files.server, _certificate_pem(server) + _pem(server_key), _PRIVATE)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + _YEARS)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _certificate_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
