"""OAuth tokens, the metadata server and the credentials of service accounts, as clients ask.

A token of the local cloud says what it is; its services take any token, or none.
"""

from __future__ import annotations

import base64
import datetime
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from local_cloud.errors import ServiceError
from local_cloud.identity import service_account_email, sign

ACCESS_TOKEN = "local-cloud-access-token"  # noqa: S105 - good for nothing elsewhere
_LIFETIME_SECONDS = 3600
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_PROJECT_NUMBER = 100000000000
_FLAVOR = {"Metadata-Flavor": "Google"}
_ACCOUNT = "/v1/projects/{project}/serviceAccounts/{account}"

_Parsed = TypeVar("_Parsed")
_Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Identity:
    """What the answers are made of.

    Attributes:
        project: The default one.
        region: Of the virtual machine that the metadata server describes.
        service_account: Its key file.
    """

    project: str
    region: str
    service_account: Path

    def routes(self) -> list[BaseRoute]:
        """The APIs of identity."""

        def post(path: str, answer: _Endpoint, name: str) -> Route:
            return Route(path, answer, methods=["POST"], name=name)

        return [
            *(post(path, self._token, "oauth2.token") for path in _TOKEN_PATHS),
            *(Route(path, self._token_info, methods=["GET", "POST"], name="oauth2.tokeninfo")
              for path in ("/tokeninfo", "/oauth2/{version}/tokeninfo")),
            post(_ACCOUNT + ":signBlob", self._sign_blob,
                 "iamcredentials.projects.serviceAccounts.signBlob"),
            post(_ACCOUNT + ":signJwt", self._sign_jwt,
                 "iamcredentials.projects.serviceAccounts.signJwt"),
            post(_ACCOUNT + ":generateAccessToken", self._generate_access_token,
                 "iamcredentials.projects.serviceAccounts.generateAccessToken"),
            post(_ACCOUNT + ":generateIdToken", self._generate_id_token,
                 "iamcredentials.projects.serviceAccounts.generateIdToken"),
            Route(_ACCOUNT + "/allowedLocations", self._allowed_locations,
                  name="iamcredentials.projects.serviceAccounts.getAllowedLocations"),
            Route("/v1/projects/{project}", self._get_project,
                  name="cloudresourcemanager.projects.get"),
            Route("/", self._metadata, name="metadata.get"),
            Route("/computeMetadata/{path:path}", self._metadata, name="metadata.get"),
        ]  # fmt: skip

    async def _token(self, request: Request) -> Response:
        form = {key: values[0] for key, values in parse_qs((await request.body()).decode()).items()}
        grant = form.get("grant_type")
        if grant not in (_JWT_GRANT, "refresh_token"):
            answer = {"error": "unsupported_grant_type", "error_description": f"not {grant!r}"}
            return JSONResponse(answer, status_code=400)
        audience = _claims(form.get("assertion", "")).get("target_audience")
        if audience:
            return JSONResponse({"id_token": self._id_token(audience)})
        return JSONResponse(
            {
                "access_token": ACCESS_TOKEN,
                "expires_in": _LIFETIME_SECONDS,
                "token_type": "Bearer",
                "scope": _SCOPE,
                "id_token": self._id_token("local-cloud"),
            }
        )

    async def _token_info(self, _: Request) -> Response:
        return JSONResponse(
            {
                "email": service_account_email(self.project),
                "email_verified": "true",
                "scope": _SCOPE,
                "expires_in": str(_LIFETIME_SECONDS),
            }
        )

    async def _sign_blob(self, request: Request) -> Response:
        payload = await _field(request, "payload", "", _from_base64)
        signature = base64.b64encode(sign(self.service_account, payload)).decode()
        return JSONResponse({"keyId": self._key_id(), "signedBlob": signature})

    async def _sign_jwt(self, request: Request) -> Response:
        claims = await _field(request, "payload", "{}", json.loads)
        return JSONResponse({"keyId": self._key_id(), "signedJwt": self._jwt(claims)})

    async def _generate_access_token(self, request: Request) -> Response:
        lifetime = await _field(request, "lifetime", f"{_LIFETIME_SECONDS}s", _duration)
        expiry = datetime.datetime.now(datetime.UTC) + lifetime
        return JSONResponse(
            {"accessToken": ACCESS_TOKEN, "expireTime": expiry.strftime("%Y-%m-%dT%H:%M:%SZ")}
        )

    async def _generate_id_token(self, request: Request) -> Response:
        return JSONResponse({"token": self._id_token(await _field(request, "audience", "", str))})

    async def _allowed_locations(self, _: Request) -> Response:
        return JSONResponse({"locations": [], "encodedLocations": "0x0"})

    async def _get_project(self, request: Request) -> Response:
        project = request.path_params["project"]
        return JSONResponse(
            {
                "projectId": project,
                "projectNumber": str(_PROJECT_NUMBER),
                "name": project,
                "lifecycleState": "ACTIVE",
            }
        )

    async def _metadata(self, request: Request) -> Response:
        path = request.path_params.get("path", "").removeprefix("v1").strip("/")
        if path and request.headers.get("Metadata-Flavor") != "Google":
            return PlainTextResponse("Missing required header: Metadata-Flavor", 403)
        if path.startswith("instance/service-accounts/") and path.endswith("/identity"):
            audience = request.query_params.get("audience", "")
            return PlainTextResponse(self._id_token(audience), headers=_FLAVOR)
        found = self._metadata_values().get(path)
        if found is None:
            return PlainTextResponse(f"The local cloud has no {path}.\n", 404, headers=_FLAVOR)
        if isinstance(found, str):
            return PlainTextResponse(found, headers=_FLAVOR)
        return JSONResponse(found, headers=_FLAVOR)

    def _metadata_values(self) -> Mapping[str, str | dict[str, Any]]:
        email = service_account_email(self.project)
        account = {"aliases": ["default"], "email": email, "scopes": [_SCOPE]}
        token = {
            "access_token": ACCESS_TOKEN,
            "expires_in": _LIFETIME_SECONDS,
            "token_type": "Bearer",
        }
        values: dict[str, str | dict[str, Any]] = {
            "": "computeMetadata/\n",
            "project/project-id": self.project,
            "project/numeric-project-id": str(_PROJECT_NUMBER),
            "instance/id": "1",
            "instance/zone": f"projects/{_PROJECT_NUMBER}/zones/{self.region}-a",
            "instance/region": f"projects/{_PROJECT_NUMBER}/regions/{self.region}",
            "instance/service-accounts": f"default/\n{email}/\n",
            "universe/universe-domain": "googleapis.com",
        }
        for name in ("default", email):
            base = f"instance/service-accounts/{name}"
            values |= {
                base: account,
                f"{base}/email": email,
                f"{base}/scopes": _SCOPE + "\n",
                f"{base}/token": token,
            }
        return values

    def _key_id(self) -> str:
        key_id: str = json.loads(self.service_account.read_text())["private_key_id"]
        return key_id

    def _id_token(self, audience: str) -> str:
        now = int(time.time())
        email = service_account_email(self.project)
        return self._jwt(
            {
                "aud": audience,
                "iss": "https://accounts.google.com",
                "sub": email,
                "email": email,
                "email_verified": True,
                "iat": now,
                "exp": now + _LIFETIME_SECONDS,
            }
        )

    def _jwt(self, claims: dict[str, Any]) -> str:
        header = {"alg": "RS256", "typ": "JWT", "kid": self._key_id()}
        message = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
        return f"{message}.{_base64url(sign(self.service_account, message.encode()))}"


_TOKEN_PATHS = ("/token", "/oauth2/{version}/token", "/o/oauth2/token")


async def _field(
    request: Request, name: str, default: str, parse: Callable[[str], _Parsed]
) -> _Parsed:
    """A field of a request's JSON.

    Raises:
        ServiceError: The request, or the field, cannot be read.
    """
    try:
        document = json.loads(await request.body() or b"{}")
        return parse(document.get(name, default))
    except (ValueError, TypeError, AttributeError) as error:
        raise ServiceError(400, f"The request's {name!r} cannot be read: {error}") from None


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _duration(text: str) -> datetime.timedelta:
    return datetime.timedelta(seconds=float(text.removesuffix("s")))


def _claims(assertion: str) -> dict[str, Any]:
    """The claims of a signed assertion, whose signature nobody needs to check here."""
    try:
        payload = assertion.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
