"""The run: from a source's listing, or from another destination, into every destination, in bounded memory."""
