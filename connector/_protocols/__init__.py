"""What sources and destinations have to be, and what they may be besides."""
