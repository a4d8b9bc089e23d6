"""``vectorferry sandbox``: local APIs to try everything with."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Final

import typer

from vectorferry.connector.cli._console import results
from vectorferry.connector.sandbox import Sandbox, serve

READY: Final = """\
The sandbox answers at {url} until you press Ctrl-C.
It takes this key: {api_key}
Its own controls under /_sandbox want this one as X-Sandbox-Key: {control_key}

In vectorferry.yaml:

  source:
    type: mixpeek
    base_url: {url}
    api_key: {api_key}

or, for Mixpeek's documents (the other namespace is my-vectors):

  source:
    type: mixpeek-documents
    base_url: {documents_url}
    api_key: {api_key}
    namespace: media

or, for TwelveLabs:

  source:
    type: twelvelabs
    base_url: {twelvelabs_url}
    api_key: {api_key}

and with any of these:

  destinations:
    - type: pinecone
      host: {url}
      api_key: {api_key}
      vectors: all

Any Pinecone client can ask it too: pinecone.Pinecone(api_key="{api_key}", host="{url}")
"""


def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where to listen; 0 takes any free port.")] = 8765,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve local stand-ins for the Mixpeek, TwelveLabs and Pinecone APIs until interrupted."""
    with suppress(KeyboardInterrupt):
        serve(host=host, port=port, on_ready=_print_ready)


def _print_ready(sandbox: Sandbox) -> None:
    console = results()
    text = READY.format(
        url=sandbox.url,
        documents_url=sandbox.documents_url,
        twelvelabs_url=sandbox.twelvelabs_url,
        api_key=sandbox.api_key,
        control_key=sandbox.control_key,
    )
    console.print(text, markup=False, soft_wrap=True)
    console.file.flush()
