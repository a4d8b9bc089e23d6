"""The sources that come with Vectorferry; others are found through the entry point group ``vectorferry.sources``."""
