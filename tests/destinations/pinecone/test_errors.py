"""Every exception of the libraries, in our own words and without the key."""

from __future__ import annotations

import ssl
import threading
import warnings
from urllib.parse import urlsplit

import httpx
import pytest
from pinecone import Pinecone, RetryConfig
from pinecone import errors as sdk
from pinecone._internal.http_client import get_budget_registry

from tests.pinecone import forget_budgets, pinecone_alone, pinecone_destination
from tests.waiting import PATIENCE, wait_until
from vectorferry.connector.http import Answer, Meaning, meaning_of
from vectorferry.connector.http._answer import Judge
from vectorferry.connector.plugin import (
    CredentialsError,
    DestinationError,
    RetryableError,
    SchemaMapping,
    VectorferryError,
)
from vectorferry.connector.sandbox import Fault, Stall, Status, running_sandbox
from vectorferry.destinations.pinecone._errors import refusal, translated

KEY = "pcsk_abcdefghijklmnop"


def raised(error: Exception) -> VectorferryError:
    with pytest.raises(VectorferryError) as caught, translated("listing the indexes", KEY):
        raise error
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert KEY not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert "listing the indexes" in str(caught.value)
    return caught.value


def api(status: int, message: str = "no", **headers: str) -> sdk.ApiError:
    body = {"status": status, "error": {"code": "X", "message": message}}
    return sdk.ApiError(message, status, body, headers={name.replace("_", "-"): v for name, v in headers.items()})


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (api(401), CredentialsError, "destinations[].api_key"),
        (api(403, "not a member"), CredentialsError, "not a member"),
        (api(403, "You've reached the max serverless indexes: quota 5"), DestinationError, "quota 5"),
        (api(404), DestinationError, "deleted"),
        (api(400, "bad dimension"), DestinationError, "bad dimension"),
        (api(302), DestinationError, "host"),
        (api(408), RetryableError, "408"),
        (api(429, "slow down"), RetryableError, "slow down"),
        (api(429, "reached your write unit limit for the current month"), DestinationError, "limits"),
        (api(500), RetryableError, "500"),
        (api(503), RetryableError, "503"),
        (sdk.PineconeConnectionError("reset"), RetryableError, "reset"),
        (sdk.PineconeTimeoutError("slow"), RetryableError, "in time"),
        (sdk.ResponseParsingError("not JSON"), RetryableError, "not JSON"),
        (sdk.PineconeValueError("no such thing"), DestinationError, "no such thing"),
        (httpx.ConnectError("refused"), RetryableError, "refused"),
        (httpx.ReadTimeout(""), RetryableError, "in time"),
        (httpx.InvalidURL("long"), DestinationError, "long"),
        (OSError("no route"), RetryableError, "no route"),
    ],
)
def test_each_becomes_ours(error: Exception, kind: type[VectorferryError], says: str) -> None:
    ours = raised(error)
    assert type(ours) is kind
    assert says in str(ours)


def test_a_status_means_the_same_for_a_source_for_the_sdk_and_for_our_own_writes() -> None:
    judge = Judge("https://api.example.com", "api.example.com", KEY, "Check the key.")
    for status in range(300, 600):
        answer = Answer(status, httpx.Headers(), b"")
        with pytest.raises(VectorferryError) as of_source:
            judge.check(answer, "GET /things")
        of_write, of_sdk = refusal(answer, "upserting", KEY), raised(api(status))
        assert type(of_write) is type(of_sdk)
        try_again = meaning_of(status) is Meaning.TRY_AGAIN
        assert {isinstance(each, RetryableError) for each in (of_source.value, of_write, of_sdk)} == {try_again}, status
        bad_key = meaning_of(status) is Meaning.BAD_KEY
        assert isinstance(of_source.value, CredentialsError) == bad_key
        assert isinstance(of_write, CredentialsError) == (bad_key or status == 403)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 503])
def test_a_key_that_is_echoed_does_not_show(status: int) -> None:
    assert "***" in str(raised(api(status, f"the key {KEY} is wrong, {KEY[:10]} too")))


def test_a_key_in_a_connection_error_does_not_show_either() -> None:
    raised(sdk.PineconeConnectionError(f"header {KEY}"))
    raised(httpx.RemoteProtocolError(f"bad line {KEY}"))


def test_the_wait_that_was_asked_for_is_kept() -> None:
    ours = raised(api(429, retry_after="7"))
    assert isinstance(ours, RetryableError)
    assert ours.after == 7


def test_a_certificate_that_is_not_trusted_stops() -> None:
    problem = ssl.SSLCertVerificationError("self-signed certificate")
    failed = httpx.ConnectError("failed")
    failed.__cause__ = problem
    assert isinstance(raised(failed), DestinationError)


def test_ours_pass_through_as_they_are() -> None:
    mine = DestinationError("mine")
    with pytest.raises(DestinationError) as caught, translated("listing the indexes"):
        raise mine
    assert caught.value is mine


def test_a_bug_is_no_failure_of_pinecone() -> None:
    with pytest.raises(KeyError), translated("listing the indexes"):
        raise KeyError("x")


@pytest.mark.parametrize(("status", "kind"), [(401, CredentialsError), (429, RetryableError), (400, DestinationError)])
def test_what_the_sdk_really_raises(status: int, kind: type[VectorferryError]) -> None:
    rule = Fault(route="pinecone.indexes.list", do=Status(status=status, retry_after=1 if status == 429 else None))
    get_budget_registry()._reset()
    with (
        running_sandbox(pinecone_alone(faults=(rule,))) as sandbox,
        Pinecone(api_key=sandbox.api_key, host=sandbox.url, retry_config=RetryConfig(max_retries=0)) as pinecone,
        pytest.raises(kind, match=str(status)) as caught,
        translated("listing the indexes", sandbox.api_key),
    ):
        list(pinecone.indexes.list())
    get_budget_registry()._reset()
    if isinstance(caught.value, RetryableError):
        assert caught.value.after == 1


def test_a_list_that_outlasts_its_destination_leaves_no_connection_open() -> None:
    stalled = Fault(route="pinecone.indexes.list", do=Stall(seconds=PATIENCE))
    others = threading.enumerate()
    with (
        running_sandbox(pinecone_alone(faults=(stalled,))) as sandbox,
        warnings.catch_warnings(record=True) as unclosed,
    ):
        warnings.simplefilter("always", ResourceWarning)
        destination = pinecone_destination(sandbox, "postgresql://127.0.0.1:1/media", "media")
        with pytest.raises(DestinationError, match="cannot connect to Postgres"):
            destination.prepare(SchemaMapping())
        wait_until(lambda: sandbox.faults.hits() == [1])
        destination.close()
        sandbox.faults.clear()
        wait_until(lambda: all(one in others for one in threading.enumerate() if one.name == "abandonable"))
        forget_budgets()
    port = str(urlsplit(sandbox.url).port)
    assert [each for each in unclosed if port in str(each.message)] == []
