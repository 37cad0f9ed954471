"""Where to deploy: what a file like `deploy/prod.env` says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from beam_jobs.errors import UsageError
from tallyflow.settings import PREFIX, Settings, SettingsError

_REQUIRED = ("PROJECT", "REGION", "REGISTRY", "AIRFLOW_BUCKET")
_OPTIONAL = ("BUILD_SERVICE_ACCOUNT", "COMPOSER_ENVIRONMENT")
# What is built says these.
_BUILT = ("TALLYFLOW_SDK_CONTAINER_IMAGE", "TALLYFLOW_EXTRA_PACKAGE")
_LINE = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)")
_SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|PRIVATE_KEY|CREDENTIAL")


@dataclass(frozen=True)
class Target:
    """A place where Tallyflow runs.

    Attributes:
        project: Of the builds and of Composer.
        region: Likewise.
        registry: The Artifact Registry repository of the images.
        airflow_bucket: ``gs://`` URL of the folder that holds Airflow's dags/ and plugins/.
        composer_environment: None if Airflow is not Composer's.
        build_service_account: None for the project's default.
        variables: The ``TALLYFLOW_*`` variables, those left out that name what is built.
    """

    project: str
    region: str
    registry: str
    airflow_bucket: str
    composer_environment: str | None
    build_service_account: str | None
    variables: Mapping[str, str]

    def settings(self, image: str, templates: str | None) -> dict[str, str]:
        """The ``TALLYFLOW_*`` variables of Airflow.

        Args:
            image: Of the workers.
            templates: Folder of the flex templates; None for launching without them.

        Raises:
            UsageError: They do not fit together.
        """
        found = {**self.variables, "TALLYFLOW_SDK_CONTAINER_IMAGE": image}
        found.pop("TALLYFLOW_TEMPLATES", None)
        if templates is not None:
            found["TALLYFLOW_TEMPLATES"] = templates
        try:
            Settings.from_environ(found)
        except SettingsError as error:
            raise UsageError(f"the settings of this deployment are wrong:\n{error}") from error
        return found


def read_target(path: Path) -> Target:
    """Reads where to deploy.

    Raises:
        UsageError: The file is not there, or is wrong; names the line.
    """
    if not path.is_file():
        raise UsageError(
            f"{path} is not there: copy deploy/prod.env.example there, and edit it; ENV=NAME means "
            "deploy/NAME.env"
        )
    given: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if not (found := _LINE.fullmatch(line.strip())):
            raise UsageError(f"{path}:{number}: {line!r} is not NAME=VALUE")
        name, value = found[1], found[2].strip()
        _check(name, f"{path}:{number}")
        if ";" in value:
            raise UsageError(f"{path}:{number}: {name} has a ; in it, which gcloud takes as an end")
        if value:
            given[name] = value
    if missing := [name for name in _REQUIRED if name not in given]:
        raise UsageError(f"{path}: also set {', '.join(missing)}")
    if not given["AIRFLOW_BUCKET"].startswith("gs://"):
        raise UsageError(f"{path}: AIRFLOW_BUCKET={given['AIRFLOW_BUCKET']}: write gs://bucket")
    return Target(
        project=given["PROJECT"],
        region=given["REGION"],
        registry=given["REGISTRY"].rstrip("/"),
        airflow_bucket=given["AIRFLOW_BUCKET"].rstrip("/").removesuffix("/dags"),
        composer_environment=given.get("COMPOSER_ENVIRONMENT"),
        build_service_account=given.get("BUILD_SERVICE_ACCOUNT"),
        variables={name: value for name, value in given.items() if name.startswith(PREFIX)},
    )


def _check(name: str, where: str) -> None:
    if name in _BUILT:
        raise UsageError(f"{where}: {name} is what is built here; delete the line")
    if _SECRET.search(name):
        raise UsageError(
            f"{where}: {name} sounds like a secret, and what is here is shown to many; put it into "
            "Airflow's connections or Secret Manager"
        )
    if not name.startswith(PREFIX) and name not in (*_REQUIRED, *_OPTIONAL):
        raise UsageError(
            f"{where}: {name} is unknown; there are {', '.join((*_REQUIRED, *_OPTIONAL))}, and the "
            "variables of .env.example"
        )
