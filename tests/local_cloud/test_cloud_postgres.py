"""Postgres as a service: Airflow's database is there, and stays whatever happens."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

from local_cloud import LocalCloud
from local_cloud.cloud import read_status
from local_cloud.files import Files


@contextmanager
def _connected(url: str) -> Iterator[sqlalchemy.Connection]:
    driver_url = url.replace("postgresql://", "postgresql+pg8000://")
    engine = sqlalchemy.create_engine(driver_url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        yield connection


def _run(url: str, statement: str) -> sqlalchemy.CursorResult[object]:
    with _connected(url) as connection:
        return connection.execute(sqlalchemy.text(statement))


def _value(url: str, statement: str) -> object:
    with _connected(url) as connection:
        return connection.execute(sqlalchemy.text(statement)).scalar()


def test_rows_stay_when_it_ends_in_order_and_when_it_is_killed(tmp_path: Path) -> None:
    with LocalCloud(tmp_path, services=["postgres"]) as cloud:
        _run(cloud.postgres_url, "CREATE TABLE runs (id int)")
        _run(cloud.postgres_url, "INSERT INTO runs VALUES (1)")
    with LocalCloud(tmp_path, services=["postgres"]) as cloud:
        _run(cloud.postgres_url, "INSERT INTO runs VALUES (2)")
        os.kill(read_status(Files(tmp_path))["pid"], signal.SIGKILL)
    with LocalCloud(tmp_path, services=["postgres"]) as cloud:
        assert _value(cloud.postgres_url, "SELECT sum(id) FROM runs") == 3
        assert "database system is ready" in cloud.log("postgres")


def test_it_ends_while_clients_are_connected_and_wants_a_password() -> None:
    with LocalCloud(services=["postgres"]) as cloud:
        assert cloud.environment["LOCAL_CLOUD_POSTGRES_URL"] == cloud.postgres_url
        assert _value(cloud.postgres_url, "SHOW server_encoding") == "UTF8"
        password = cloud.postgres_url.split(":")[2].split("@")[0]
        with pytest.raises(SQLAlchemyError, match="password authentication failed"):
            _value(cloud.postgres_url.replace(password, "guess"), "SELECT 1")
        url = cloud.postgres_url.replace("postgresql://", "postgresql+pg8000://")
        engine = sqlalchemy.create_engine(url)
        held = engine.connect()
        log = Files(cloud.directory).log("postgres").open()
    with log:  # It can be read still, though the directory is gone.
        assert "received fast shutdown request" in (said := log.read())
        assert "database system is shut down" in said
    with pytest.raises(SQLAlchemyError):
        held.execute(sqlalchemy.text("SELECT 1"))
