"""Placeholder; filled by its first module."""
