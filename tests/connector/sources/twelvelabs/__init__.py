"""The Mixpeek source, against real servers on loopback."""
