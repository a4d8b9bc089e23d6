"""Peers side by side: each in an environment of its own, the same rows, the same servers, the same troubles."""
