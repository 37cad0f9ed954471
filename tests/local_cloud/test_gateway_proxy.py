"""The gateway between real clients and stand-ins of the services."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests

from local_cloud.environment import client_environment
from local_cloud.files import Files
from local_cloud.gateway.hosts import CERTIFIED_HOSTS
from local_cloud.identity import prepare_identity
from local_cloud.settings import HOST, SERVICES, Settings, choose_ports

_BIG = bytes(range(256)) * 4096 * 64  # 64 MiB


class _Service(BaseHTTPRequestHandler):
    """Says which service it is, and what it was asked."""

    protocol_version = "HTTP/1.1"
    name = ""

    def do_GET(self) -> None:
        """Answers with what was asked, with much, or with less than it promised."""
        if self.path == "/storage/v1/big":
            self._answer(_BIG)
        elif self.path == "/storage/v1/broken":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"half")
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self._answer(self._asked())

    def do_POST(self) -> None:
        """Answers with what was asked, and what came with it."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(self._asked(hashlib.sha256(body).hexdigest()))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""

    def _asked(self, digest: str = "") -> bytes:
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = {"service": self.name, "path": self.path, "headers": headers, "sha256": digest}
        return json.dumps(asked).encode()

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


@dataclass(frozen=True)
class _Gateway:
    url: str
    environment: dict[str, str]
    bundle: str

    def session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.proxies = {"http": self.url, "https": self.url}
        session.verify = self.bundle
        return session

    def refused(self) -> dict[str, int]:
        answer = requests.get(f"{self.url}/_local_cloud/refused", timeout=5)
        counts: dict[str, int] = answer.json()
        return counts


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Gateway]:
    files = Files(tmp_path_factory.mktemp("cloud"))
    servers = [_http_service(name) for name in ("storage", "dataflow", "bigquery")]
    grpc_server, grpc_port = _grpc_service()
    ports = choose_ports({}, {})
    settings = Settings(services=SERVICES[:-1], ports=ports)
    prepare_identity(files, settings, CERTIFIED_HOSTS, None)
    arguments = ["--directory", str(files.directory), "--port", str(ports["gateway"])]
    for server, name in zip(servers, ("storage", "dataflow", "bigquery"), strict=True):
        arguments += [f"--{name}_port", str(server.server_port)]
    arguments += ["--dataflow_grpc_port", str(grpc_port), "--pass_through", "localhost"]
    # Never let through, whatever it is told.
    arguments += ["--pass_through", "compute.googleapis.com"]
    command = [sys.executable, "-m", "local_cloud.gateway", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        environment = client_environment(files, settings, {})
        url = settings.url("gateway")
        _wait_for(ports["gateway"])
        yield _Gateway(url, environment, str(files.trusted))
    finally:
        process.terminate()
        process.wait()
        grpc_server.stop(None)
        for server in servers:
            server.shutdown()
            server.server_close()


def _http_service(name: str) -> ThreadingHTTPServer:
    handler = type("Handler", (_Service,), {"name": name})
    server = ThreadingHTTPServer((HOST, 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _grpc_service() -> tuple[grpc.Server, int]:
    def echo(request: bytes, _: grpc.ServicerContext) -> bytes:
        return request

    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo)
    }
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods),))
    port = server.add_insecure_port(f"{HOST}:0")
    server.start()
    return server, port


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    with socket.socket() as probe:
        while probe.connect_ex((HOST, port)):
            assert time.monotonic() < deadline, "the gateway does not start"
            time.sleep(0.02)


@pytest.mark.parametrize(
    ("url", "service"),
    [
        ("https://storage.googleapis.com/storage/v1/b", "storage"),
        ("https://lake.storage.googleapis.com/object", "storage"),
        ("https://www.googleapis.com/storage/v1/b", "storage"),
        ("https://www.googleapis.com/upload/storage/v1/b/lake/o", "storage"),
        ("https://www.googleapis.com/bigquery/v2/projects", "bigquery"),
        ("https://bigquery.googleapis.com/bigquery/v2/projects", "bigquery"),
        ("https://dataflow.googleapis.com/v1b3/projects/p/jobs", "dataflow"),
        ("http://storage.googleapis.com/lake/object", "storage"),
    ],
)
def test_each_host_and_path_reaches_its_service(gateway: _Gateway, url: str, service: str) -> None:
    answer = gateway.session().get(url + "?x=1", timeout=10).json()
    assert answer["service"] == service
    assert answer["path"] == url.split(".com", 1)[1] + "?x=1"
    assert answer["headers"]["host"] == url.split("/")[2]


def test_one_connection_to_the_shared_host_reaches_several_services(gateway: _Gateway) -> None:
    session = gateway.session()
    paths = ["storage/v1/b", "bigquery/v2/x", "storage/v1/b", "oauth2/v3/tokeninfo"]
    answers = [
        session.get(f"https://www.googleapis.com/{path}", timeout=10).json() for path in paths
    ]
    assert [answer.get("service") for answer in answers] == ["storage", "bigquery", "storage", None]
    assert answers[3]["email"].endswith("@local-project.iam.gserviceaccount.com")


def test_an_unknown_path_of_the_shared_host_is_refused(gateway: _Gateway) -> None:
    answer = gateway.session().get("https://www.googleapis.com/compute/v1/projects", timeout=10)
    assert answer.status_code == 403
    assert "nothing that answers for www.googleapis.com/compute/v1/projects" in answer.text


def test_much_goes_through_whole_in_both_directions(gateway: _Gateway) -> None:
    session = gateway.session()
    big = session.get("https://storage.googleapis.com/storage/v1/big", timeout=60).content
    assert big == _BIG
    answer = session.post("https://storage.googleapis.com/upload", data=_BIG, timeout=60).json()
    assert answer["sha256"] == hashlib.sha256(_BIG).hexdigest()


def test_an_answer_that_breaks_off_does_not_look_whole(gateway: _Gateway) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        _ = gateway.session().get("https://storage.googleapis.com/storage/v1/broken").content


def test_grpc_clients_reach_the_grpc_port(gateway: _Gateway) -> None:
    credentials = grpc.ssl_channel_credentials(Path(gateway.bundle).read_bytes())
    options = [("grpc.http_proxy", gateway.url)]
    with grpc.secure_channel("dataflow.googleapis.com:443", credentials, options) as channel:
        echo: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Echo/Echo")
        assert echo(b"hello", timeout=10) == b"hello"


def test_other_hosts_are_refused_with_a_sentence_and_recorded(gateway: _Gateway) -> None:
    before = gateway.refused().get("example.com", 0)
    answer = gateway.session().get("http://example.com/data", timeout=10)
    assert answer.status_code == 403
    assert "up --pass_through example.com" in answer.text
    with pytest.raises(requests.exceptions.ProxyError, match="403 Refused by the local cloud"):
        gateway.session().get("https://example.com/data", timeout=10)
    assert gateway.refused()["example.com"] > before + 1


def test_a_host_of_googles_is_never_let_through(gateway: _Gateway) -> None:
    with pytest.raises(requests.exceptions.ProxyError, match="403 Refused by the local cloud"):
        gateway.session().get("https://compute.googleapis.com/", timeout=10)


def test_a_host_that_is_let_through_is_itself(gateway: _Gateway) -> None:
    service = _http_service("elsewhere")
    try:
        with socket.create_connection((HOST, int(gateway.url.rsplit(":", 1)[1]))) as connection:
            target = f"localhost:{service.server_port}"
            connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert b'"service": "elsewhere"' in answer
    finally:
        service.shutdown()
        service.server_close()


def test_a_host_that_is_let_through_and_gone_is_a_bad_gateway(gateway: _Gateway) -> None:
    with socket.socket() as held:
        held.bind((HOST, 0))  # Bound, not listening: refused.
        port = held.getsockname()[1]
        with pytest.raises(requests.exceptions.ProxyError, match="502"):
            gateway.session().get(f"https://localhost:{port}/", timeout=10)


@pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00" * 9, b"GET\r\n\r\n", b"x" * 600_000, b""])
def test_junk_ends_its_own_connection_only(gateway: _Gateway, junk: bytes) -> None:
    with socket.create_connection((HOST, int(gateway.url.rsplit(":", 1)[1]))) as connection:
        connection.settimeout(10)
        # It may be ended before all of it is read.
        with contextlib.suppress(OSError):
            connection.sendall(junk)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            assert connection.recv(4096) == b""
    assert gateway.refused() is not None


def test_many_connections_at_once(gateway: _Gateway) -> None:
    def get(number: int) -> Any:
        url = f"https://storage.googleapis.com/storage/v1/b/{number}"
        return gateway.session().get(url, timeout=30).json()["path"]

    with futures.ThreadPoolExecutor(16) as pool:
        paths = list(pool.map(get, range(64)))
    assert paths == [f"/storage/v1/b/{number}" for number in range(64)]


def test_a_client_that_knows_only_its_environment_gets_there(gateway: _Gateway) -> None:
    code = "import requests; print(requests.get('https://storage.googleapis.com/x').json())"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, text=True, capture_output=True,
        env={**os.environ, **gateway.environment},
    )  # fmt: skip
    assert "'service': 'storage'" in done.stdout
