"""Large answers: what one may take when it is parsed, how many are read at a time, and where they are parsed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from contextlib import aclosing
from typing import Final

import pytest
from aiohttp import web

from tests.connector.http.serving import client_for, serving
from tests.examples import family
from vectorferry.connector._model._json import parse_json, parsed_size
from vectorferry.connector.http import RefusedError, UnreadableError

ATTACK: Final = """
import asyncio, resource, sys
from contextlib import aclosing
from aiohttp import web
from tests.connector.http.serving import client_for, serving
from vectorferry.connector._model._json import parse_json
from vectorferry.connector.http import RefusedError, UnreadableError

PIECES = {piece!r}.encode() + b","
PIECES *= 65_536 // len(PIECES)

async def answer(request):
    response = web.StreamResponse(status={status})
    await response.prepare(request)
    await response.write(b"[")
    for _ in range(20_000_000 // len(PIECES)):
        await response.write(PIECES)
    await response.write(b"0]")
    return response

async def main():
    async with serving(answer) as server, aclosing(client_for(server.url)) as client:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            await client.request("GET", "/a", decode=parse_json)
        except (RefusedError, UnreadableError) as error:
            print(error, file=sys.stderr)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1_000)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("piece", "status"),
    family(
        [("{}", 200), ('{"a":{"b":[]}}', 200), ("[[[]]]", 200), ('"ab"', 200), ("1.5", 200), ("{}", 422)], always=(1,)
    ),
    ids=["objects", "nested-objects", "lists", "texts", "numbers", "an-error"],
)
@pytest.mark.long
def test_twenty_megabytes_of_json_take_no_more_than_two_hundred_of_memory(piece: str, status: int) -> None:
    script = ATTACK.format(piece=piece, status=status)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(ended.stdout) <= 200, ended.stderr


async def test_what_would_take_too_much_memory_is_refused_with_the_setting() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b"[" + b"{}," * 100_000 + b"0]")

    async with serving(answer) as server, aclosing(client_for(server.url, max_parsed_bytes=10_000_000)) as client:
        with pytest.raises(UnreadableError, match=r"source\.max_parsed_mb"):
            await client.request("GET", "/a", decode=parse_json)
        assert len(server.seen) == 1


def test_the_largest_known_answer_is_well_within_what_may_be_parsed() -> None:
    """TwelveLabs': 46 MB, nearly all of it numbers."""
    segment = b'{"embedding_option":"visual","start_sec":0,"end_sec":6,"float":[' + b"-0.04747168," * 511 + b"0.1]},"
    assert parsed_size(segment * (46_000_000 // len(segment))) < 256_000_000


async def test_no_more_large_answers_are_read_at_a_time_than_there_is_room_for() -> None:
    """All eight begin; only those that there is room for come to their end, which is held back."""
    chunk, there_is_room, begun, ended = b" " * 1_000_000, asyncio.Event(), 0, 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal begun, ended
        response = web.StreamResponse()
        await response.prepare(request)
        begun += 1
        for _ in range(20):
            await response.write(chunk)
        ended += 1
        await there_is_room.wait()
        await response.write(b"1")
        return response

    bounds = {"max_answer_bytes": 30_000_000, "answers_in_flight_bytes": 60_000_000}
    async with serving(answer) as server, aclosing(client_for(server.url, **bounds)) as client:
        reads = [asyncio.create_task(client.request("GET", "/a", decode=parse_json)) for _ in range(8)]
        await asyncio.sleep(1)  # of the waiting loop's time, which passes when nothing else can happen
        assert (begun, ended) == (8, 2)
        there_is_room.set()
        assert await asyncio.gather(*reads) == [1] * 8


async def test_a_large_answer_is_parsed_elsewhere_and_a_small_one_here() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b" " * int(request.query["size"]) + b"1")

    def thread(_: bytes) -> int:
        return threading.get_ident()

    async with serving(answer) as server, aclosing(client_for(server.url)) as client:
        small, large = [
            await client.request("GET", "/a", params={"size": size}, decode=thread) for size in (10, 2_000_000)
        ]
    assert small == threading.get_ident() != large


async def test_a_large_error_is_not_parsed() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=422, body=b'{"message":"no","more":"' + b"x" * 2_000_000 + b'"}')

    async with serving(answer) as server, aclosing(client_for(server.url)) as client:
        with pytest.raises(RefusedError, match="422"):
            await client.request("GET", "/a", decode=parse_json)
