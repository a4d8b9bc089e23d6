"""A page that a browser on this machine has open can neither read what the sandbox serves nor change it."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import pytest

from tests.connector.sandbox.serving import EXAMPLE_TEXT, controlling
from tests.examples import family
from vectorferry.connector.sandbox import Sandbox

FAULTS = "/_sandbox/faults"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example"},  # its name has come to mean 127.0.0.1
        {"Host": "127.0.0.1.attacker.example"},
        {"Host": ""},
        {"Origin": "https://attacker.example"},
        {"Origin": "null"},  # a page in a sandboxed frame, or from a file
        {"Origin": "http://localhost:1"},  # another server on this machine
    ],
)
@pytest.mark.parametrize(
    "path", family(["/collections", "/_sandbox/requests", "/nowhere", "/v1.3/indexes", "/indexes"], (0, 1))
)
async def test_pages_from_elsewhere_get_no_answer(
    client: httpx.AsyncClient, sandbox: Sandbox, headers: Mapping[str, str], path: str
) -> None:
    answer = await client.get(path, headers=headers)
    assert answer.status_code == 403
    assert "This sandbox" in answer.json()["error"]
    assert sandbox.requests.counts() == {}


async def test_who_asks_by_address_or_as_localhost_is_answered(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    port = sandbox.url.rpartition(":")[2]
    for host in (f"127.0.0.1:{port}", f"LOCALHOST:{port}", f"[::1]:{port}", "192.0.2.7"):
        assert (await client.get("/collections", headers={"Host": host})).status_code == 200
    assert (await client.get("/collections", headers={"Origin": sandbox.url})).status_code == 200


async def test_controls_want_the_key_of_this_run(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    rules = [{"do": {"kind": "status", "status": 503}}]
    for key in ("", sandbox.api_key, f"{sandbox.control_key}x", "\xe9"):
        answer = await client.post(FAULTS, json=rules, headers={b"X-Sandbox-Key": key.encode("latin-1")})
        assert answer.status_code == 401
    assert (await client.get(f"/assets/{EXAMPLE_TEXT}/features")).status_code == 200
    assert (await client.post(FAULTS, json=rules)).status_code == 200


async def test_no_two_runs_have_the_same_key(sandbox: Sandbox) -> None:
    async with Sandbox() as other:
        assert len({other.control_key, sandbox.control_key}) == 2


async def test_controls_want_bodies_that_no_form_can_send(client: httpx.AsyncClient, sandbox: Sandbox) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        headers = {**controlling(sandbox), "Content-Type": kind}
        assert (await client.post(FAULTS, content=b"[]", headers=headers)).status_code == 415
    assert (await client.post(FAULTS, json=[])).status_code == 200
