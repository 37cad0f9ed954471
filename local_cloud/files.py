"""Where things are in the directory of a local cloud."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Files:
    """The files of a local cloud.

    Attributes:
        directory: Absolute path of what holds them all.
    """

    directory: Path

    @property
    def settings(self) -> Path:
        """What it was last started with; also the mark that the directory is a local cloud's."""
        return self.directory / "local-cloud.json"

    @property
    def lock(self) -> Path:
        """Locked by the supervisor as long as it lives."""
        return self.directory / "lock"

    @property
    def status(self) -> Path:
        """How its services are, as the supervisor knows."""
        return self.directory / "status.json"

    @property
    def environment(self) -> Path:
        """The variables of clients, for a shell to source."""
        return self.directory / "env"

    def log(self, service: str) -> Path:
        """What a service has said, the latest last."""
        return self.directory / "logs" / f"{service}.log"

    def data(self, service: str) -> Path:
        """What a service keeps."""
        return self.directory / service

    @property
    def gcloud(self) -> Path:
        """The configuration of the gcloud command."""
        return self.directory / "gcloud"

    @property
    def authority(self) -> Path:
        """The certificate of the certificate authority."""
        return self.directory / "identity" / "authority.pem"

    @property
    def authority_key(self) -> Path:
        """The key of the certificate authority."""
        return self.directory / "identity" / "authority-key.pem"

    @property
    def server(self) -> Path:
        """The certificate of the gateway, for all hosts that it stands in for, and its key."""
        return self.directory / "identity" / "server.pem"

    @property
    def service_account(self) -> Path:
        """The key file that `google.auth.default` reads."""
        return self.directory / "identity" / "service-account.json"

    @property
    def postgres_password(self) -> Path:
        """The password of Postgres' only user."""
        return self.directory / "identity" / "postgres-password"

    @property
    def trusted(self) -> Path:
        """The bundle of the authorities that clients trust; its folder has nothing else."""
        return self.directory / "trusted" / "authorities.pem"


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Writes a file that other processes see either as it was or whole."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.touch(mode)
    unfinished.chmod(mode)
    unfinished.write_text(text)
    unfinished.replace(path)
