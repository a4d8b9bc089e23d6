"""A sandbox, started and stopped inside a running event loop, or with a loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from threading import Thread
from types import TracebackType

from aiohttp import web

from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector.sandbox._faults import Faults
from vectorferry.connector.sandbox._http import Api
from vectorferry.connector.sandbox._mixpeek._api import MixpeekApi
from vectorferry.connector.sandbox._mixpeek._catalogue import described_library, generated_library
from vectorferry.connector.sandbox._mixpeek._library import MixpeekEditor
from vectorferry.connector.sandbox._mixpeek_documents._api import PREFIX as DOCUMENTS_PREFIX
from vectorferry.connector.sandbox._mixpeek_documents._api import MixpeekDocumentsApi
from vectorferry.connector.sandbox._mixpeek_documents._sample import described_documents, generated_documents
from vectorferry.connector.sandbox._mixpeek_documents._store import DocumentsEditor
from vectorferry.connector.sandbox._pinecone._api import ControlPlane, Handle, IndexPorts
from vectorferry.connector.sandbox._pinecone._store import PineconeInspector, Project
from vectorferry.connector.sandbox._server import ControlApi, RequestLog, Server, Visitors
from vectorferry.connector.sandbox._settings import Keys, SandboxSettings
from vectorferry.connector.sandbox._twelvelabs._account import TwelveLabsEditor
from vectorferry.connector.sandbox._twelvelabs._api import PREFIX, TwelveLabsApi
from vectorferry.connector.sandbox._twelvelabs._sample import described_account, generated_account


class Sandbox:
    """Local APIs over HTTP on loopback. Everything but `start` and `aclose` is safe from any thread.

    ::

        async with Sandbox() as sandbox:
            ...  # sandbox.url, sandbox.api_key, sandbox.requests.counts(), sandbox.mixpeek.edit_metadata(...)

    `url` serves Mixpeek's first API and Pinecone's control plane; each Pinecone index is at the `host` that its
    description names, Mixpeek's documents are at `documents_url`, and TwelveLabs is at `twelvelabs_url`.
    """

    def __init__(self, settings: SandboxSettings | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.settings = settings or SandboxSettings()
        self._host = host
        self._port = port
        self.requests = RequestLog()
        self.faults = Faults(self.settings.faults)
        generate, generate_twelvelabs = self.settings.generate, self.settings.generate_twelvelabs
        self._library = generated_library(generate) if generate else described_library()
        self._lock = self._library.lock
        self._account = (
            generated_account(generate_twelvelabs, self._lock) if generate_twelvelabs else described_account(self._lock)
        )
        generate_documents = self.settings.generate_documents
        self._documents = (
            generated_documents(generate_documents, self._lock)
            if generate_documents
            else described_documents(self._lock)
        )
        project = Project(self.settings.pinecone)
        self.mixpeek = MixpeekEditor(self._library)
        self.documents = DocumentsEditor(self._documents)
        self.twelvelabs = TwelveLabsEditor(self._account)
        self.pinecone = PineconeInspector(project, self._lock)
        self._control = ControlApi(self.settings.control_key, self.requests, self.faults, self.pinecone)
        self._ports = IndexPorts(host, self._answering)
        keys = self._keys = Keys(self.settings)
        mixpeek = MixpeekApi(self._library, self.settings.mixpeek, keys)
        documents = MixpeekDocumentsApi(self._documents, self.settings.documents, keys)
        pinecone = ControlPlane(project, self.settings.api_key, self._ports.open, self._ports.close)
        twelvelabs = TwelveLabsApi(self._account, self.settings.twelvelabs, keys)
        if generate_twelvelabs and generate_twelvelabs.printed:
            twelvelabs.print_all()
        self._handle = self._answering(mixpeek, documents, pinecone, twelvelabs)
        self._runner: web.ServerRunner | None = None

    @property
    def api_key(self) -> str:
        """The key that the APIs accept: Mixpeek as a bearer token, Pinecone as `Api-Key`, TwelveLabs as `x-api-key`."""
        return self.settings.api_key

    def narrow(self, api_key: str, share: float) -> None:
        """Let a key see only this share of each collection from now on, as if its owner's rights had changed."""
        with self._lock:
            self._keys.narrow(api_key, share)

    @property
    def control_key(self) -> str:
        """What ``/_sandbox`` wants in the header `X-Sandbox-Key`; another one for each settings object."""
        return self.settings.control_key

    @property
    def url(self) -> str:
        """Where the APIs are, without a trailing slash. Known once it has started."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def twelvelabs_url(self) -> str:
        """Where TwelveLabs is, version and all."""
        return f"{self.url}{PREFIX}"

    @property
    def documents_url(self) -> str:
        """Where Mixpeek's documents are, below which every path begins with ``/v1``."""
        return f"{self.url}{DOCUMENTS_PREFIX}"

    def _answering(self, *apis: Api) -> Handle:
        visitors = Visitors(self._host)
        return Server(
            apis, self._control, self._vanish, self._lock, self.settings, self.requests, self.faults, visitors
        ).handle

    def _vanish(self, names: Sequence[str]) -> None:
        for name in names:
            if not self._library.remove(name):
                self._library.remove_feature(name)
        self._documents.forget(names)
        # A path of TwelveLabs names the index first, and that is to stay.
        for name in names[-1:]:
            self._account.forget(name)

    async def start(self) -> None:
        """Listen. Raises `ConfigurationError` when the port is taken or not allowed."""
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise ConfigurationError(_refused(error, self._host, self._port)) from None
        self._runner = runner
        self._port = runner.addresses[0][1]

    async def aclose(self) -> None:
        """Stop listening and drop every connection."""
        await self._ports.aclose()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Sandbox:
        await self.start()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _refused(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is in use on {host}. Stop what listens there, or choose another port (0 picks a free one)."
    return f"Cannot listen on {host}:{port}: {error.strerror or error}. Choose another host or port."


@contextlib.contextmanager
def running_sandbox(
    settings: SandboxSettings | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> Iterator[Sandbox]:
    """A sandbox that answers from a daemon thread until the block ends; it leaves nothing behind.

    Raises `ConfigurationError` when the port is taken.
    """
    sandbox = Sandbox(settings, host=host, port=port)
    started: Future[Callable[[], object]] = Future()
    thread = Thread(target=_run_in_thread, args=(sandbox, started), name="sandbox", daemon=True)
    thread.start()
    stop = started.result()
    try:
        yield sandbox
    finally:
        stop()
        thread.join()


def serve(
    settings: SandboxSettings | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    on_ready: Callable[[Sandbox], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM. `on_ready` is called once, when the sandbox listens.

    Raises `ConfigurationError` when the port is taken. Call it from the main thread.
    """
    asyncio.run(_serve(Sandbox(settings, host=host, port=port), on_ready))


async def _serve(sandbox: Sandbox, on_ready: Callable[[Sandbox], None] | None) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with sandbox:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        if on_ready is not None:
            on_ready(sandbox)
        await stopped.wait()


def _run_in_thread(sandbox: Sandbox, started: Future[Callable[[], object]]) -> None:
    async def run() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with sandbox:
            started.set_result(partial(loop.call_soon_threadsafe, stopped.set))
            await stopped.wait()

    try:
        asyncio.run(run())
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)
