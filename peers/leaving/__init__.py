"""Leaving: everything a peer takes along, in one signed file, and how that file is checked and used again."""
