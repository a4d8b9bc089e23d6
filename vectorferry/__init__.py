"""The command. This file imports nothing, so that the command can see to signals before anything else."""
