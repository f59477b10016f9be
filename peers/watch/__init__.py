"""Watching a swarm, or what a state folder remembers of one."""
