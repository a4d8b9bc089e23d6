"""Pinecone as a destination."""

__all__: list[str] = []
