"""Secure sums: the one stage in which a round with `aggregation = secure_sum` differs from one without.

standing.py   fresh secrets for every attempt, the public ranges, and what is spent
sums.py       where a round meets all this: who gives to what under a roster
circles.py    who masks with whom under a roster, or why nobody can
phases.py     the pure machine: parts, receipts, everybody's word, self-masks
stage.py      its driver in one attempt: statements on lanes, secrets, the end of a sum that fails
piles.py      masked sums of an owner, unmasked when every self-mask is there
parts.py      this peer's masked parts, and what they leave behind
"""
