"""The shared HTTP client, against real servers on loopback."""
