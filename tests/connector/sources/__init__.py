"""Sources, and what they share."""
