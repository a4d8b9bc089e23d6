"""What finds that a peer's rows are wrong, and what kills it half way, do so."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack

import numpy as np
import pytest

from ..waiting import PATIENCE
from .page import exponent
from .peers.relay import Relay
from .peers.states import Scenario, Stored, Wrong, compare


def test_every_kind_of_wrong_row_is_found() -> None:
    scenario = Scenario(rows=100, dimension=4)
    rows: list[Stored] = [
        (row.id, row.text, row.author, row.start, row.vector.tolist()) for row in scenario.first.rows.values()
    ]
    assert compare(scenario.first, rows) == Wrong()
    other_vector = (*rows[1][:4], np.zeros(4))
    other_author = (rows[2][0], rows[2][1], "grace", *rows[2][3:])
    stranger = ("stranger", *rows[0][1:])
    found = compare(scenario.first, [other_vector, other_author, *rows[3:], rows[5], stranger])
    assert found == Wrong(missing=1, extra=1, stale=2, twice=1)


def test_the_states_differ_as_the_page_says() -> None:
    scenario = Scenario(rows=1_000, dimension=4)
    first = [(row.id, row.text, row.author, row.start, row.vector) for row in scenario.first.rows.values()]
    assert compare(scenario.changed, first) == Wrong(stale=10)
    assert compare(scenario.deleted, first).extra == 100
    update = compare(scenario.update, first)
    assert (update.missing, update.extra) == (100, 100)
    assert 250 <= update.stale <= 300  # of those that changed some are gone


def test_a_client_is_stopped_before_the_piece_that_reaches_the_limit() -> None:
    reached, stopped = bytearray(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening, Relay(listening.getsockname()[1]) as relay:
        relay.stop_after(1_000, stopped.set)
        with socket.create_connection(("127.0.0.1", relay.port)) as client:
            server, _ = listening.accept()
            client.sendall(b"x" * 999)
            while len(reached) < 999:
                reached += server.recv(999)
            client.sendall(b"x")
            assert server.recv(1) == b""
            server.close()
    assert stopped.is_set()
    assert relay.sent == 1_000


def test_what_is_still_connected_is_cut_off_when_a_relay_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as stack:
        with Relay(listening.getsockname()[1]) as relay:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", relay.port)))
            server, _ = listening.accept()
            stack.enter_context(server)
            client.sendall(b"x")
            assert server.recv(1) == b"x"
            time.sleep(0.05)  # both of its threads wait then, which alone keeps a connection open that is only closed
        server.settimeout(PATIENCE)
        assert server.recv(1) == b""


def test_what_grows_with_the_square_is_seen() -> None:
    measured = [{"features": 10.0**power, "cpu": 100.0**power, "server_cpu": 0.0} for power in (3, 4, 5)]
    assert exponent(measured) == pytest.approx(2)
