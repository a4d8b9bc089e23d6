"""What travels from a source to a destination, as plain values and pure functions; it imports nothing else of ours."""
