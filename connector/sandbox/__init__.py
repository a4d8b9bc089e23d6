"""Local APIs to try everything with before there is a key: over HTTP, on loopback, with faults on demand."""

from vectorferry.connector.sandbox._faults import (
    DropField,
    DuplicateRows,
    Fault,
    Faults,
    ForeignNextPage,
    Garbage,
    Html,
    OnePageLess,
    Oversized,
    Redirect,
    Reset,
    SetField,
    ShiftRows,
    Shorten,
    Stall,
    Status,
    Truncate,
    Vanish,
)
from vectorferry.connector.sandbox._mixpeek._library import MixpeekEditor
from vectorferry.connector.sandbox._mixpeek_documents._store import DocumentsEditor
from vectorferry.connector.sandbox._pinecone._store import PineconeInspector
from vectorferry.connector.sandbox._sandbox import Sandbox, running_sandbox, serve
from vectorferry.connector.sandbox._server import RequestLog
from vectorferry.connector.sandbox._settings import (
    GeneratedCatalogue,
    GeneratedDocuments,
    GeneratedIndexes,
    MixpeekDialect,
    MixpeekDocumentsDialect,
    PineconeDialect,
    PineconeRates,
    SandboxKey,
    SandboxSettings,
    TwelveLabsDialect,
)
from vectorferry.connector.sandbox._twelvelabs._account import TwelveLabsEditor
from vectorferry.connector.sandbox._vectors import embed_text

__all__ = [
    "DocumentsEditor",
    "DropField",
    "DuplicateRows",
    "Fault",
    "Faults",
    "ForeignNextPage",
    "Garbage",
    "GeneratedCatalogue",
    "GeneratedDocuments",
    "GeneratedIndexes",
    "Html",
    "MixpeekDialect",
    "MixpeekDocumentsDialect",
    "MixpeekEditor",
    "OnePageLess",
    "Oversized",
    "PineconeDialect",
    "PineconeInspector",
    "PineconeRates",
    "Redirect",
    "RequestLog",
    "Reset",
    "Sandbox",
    "SandboxKey",
    "SandboxSettings",
    "SetField",
    "ShiftRows",
    "Shorten",
    "Stall",
    "Status",
    "Truncate",
    "TwelveLabsDialect",
    "TwelveLabsEditor",
    "Vanish",
    "embed_text",
    "running_sandbox",
    "serve",
]
