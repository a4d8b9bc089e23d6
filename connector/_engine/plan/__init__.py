"""What a sync would do."""
