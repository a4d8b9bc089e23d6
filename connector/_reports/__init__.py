"""What a sync, a plan and a check say of themselves."""
