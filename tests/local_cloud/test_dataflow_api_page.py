"""The page of jobs; processes are acted."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.local_cloud.dataflow_server import DataflowServer, dataflow_server, job_body, wait_for


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataflowServer]:
    with dataflow_server(tmp_path_factory.mktemp("dataflow")) as running:
        yield running


def page(server: DataflowServer, path: str) -> str:
    with urllib.request.urlopen(f"{server.url}{path}") as answer:  # noqa: S310
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script" not in policy
        return str(answer.read().decode())


def test_the_page_lists_jobs_newest_first(server: DataflowServer) -> None:
    jobs = [server.submit(f"listed-{i}", labels={"run": str(i)})["id"] for i in range(2)]
    for job_id in jobs:
        server.wait_for_state(job_id)
    text = page(server, "/")
    assert text.index("listed-1") < text.index("listed-0")
    assert "run=1" in text
    assert 'http-equiv="refresh"' not in text


def test_a_job_shows_its_steps_counters_messages_and_log(server: DataflowServer) -> None:
    job_id = server.submit("shown-job")["id"]
    server.wait_for_state(job_id)
    text = page(server, f"/jobs/{job_id}")
    assert "Count &lt;words&gt;" in text
    assert "1,234" in text
    assert ">lines<" in text
    assert ">42<" in text
    assert "2 values from 4 to 6, 10 in all" in text
    assert "a basic message" in text
    assert "a debug message" not in text
    assert "a debug message" in page(server, f"/jobs/{job_id}?messages=debug")


def test_a_web_page_can_make_no_requests(server: DataflowServer) -> None:
    path = f"{server.url}/v1b3/projects/local-project/locations/us-central1/jobs"
    before = page(server, "/")
    for origin in ("https://example.com", "null", server.url):
        request = urllib.request.Request(  # noqa: S310
            path, json.dumps(job_body("from-a-page")).encode(), {"Origin": origin}
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)  # noqa: S310
        assert refused.value.code == 403
    assert page(server, "/") == before


def test_a_counter_is_shown_with_the_users_name_of_its_step(server: DataflowServer) -> None:
    job_id = server.submit("counted-job")["id"]
    server.wait_for_state(job_id)
    assert "<td>Read/Split</td><td>lines</td>" in page(server, f"/jobs/{job_id}")


def test_what_jobs_say_is_not_markup(server: DataflowServer) -> None:
    job_id = server.submit("hostile-job", "fail")["id"]
    server.wait_for_state(job_id)
    text = page(server, f"/jobs/{job_id}")
    assert "bad &lt;b&gt;record&lt;/b&gt;" in text
    crashed = server.submit("crashed-job", "crash")["id"]
    server.wait_for_state(crashed)
    assert page(server, f"/jobs/{crashed}/log") == "Killed: out of memory\n"


def test_the_page_of_a_running_job_refreshes(server: DataflowServer) -> None:
    job_id = server.submit("fresh-job", "wait")["id"]
    wait_for(lambda: "Running" in page(server, f"/jobs/{job_id}"))
    assert 'http-equiv="refresh"' in page(server, f"/jobs/{job_id}")
