"""What every source and every destination must pass, whoever wrote it."""
