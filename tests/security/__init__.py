"""Keys and passwords stay where they belong."""
