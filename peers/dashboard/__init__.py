"""The web page on which a swarm can be watched."""
