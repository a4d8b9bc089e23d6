"""The engine: records, sources, mapping, the run, the command line. It never imports `destinations`."""
