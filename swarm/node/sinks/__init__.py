"""Metrics services outside the run, as optional sinks of a peer's own figures: Weights & Biases and Trackio.

    reporter.py    one task for each service: permit, waiting lines, attempts
    wandb.py, trackio.py    what each is sent, and nothing more

Their own libraries are not used: they add what nobody asked for (packages, paths, system load), by requests that no
ledger would have. `swarm.net.web` sends, on record.
"""
