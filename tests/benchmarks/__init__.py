"""Ratios measured within one run; see the marker `benchmark`."""
