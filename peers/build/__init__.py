"""Sovereign Build: a member's own model from the Shared Base, made on its own machine. Nothing of it leaves."""
