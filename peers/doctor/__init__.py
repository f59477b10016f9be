"""What stands between this machine and taking part, and what to do about it."""
