"""Why something was allowed or refused, as stable codes: for programs, ledgers and exports; sentences are for people.

A code never changes its meaning; docs/sovereignty.md has the table. Nothing is decided here.
"""

from enum import StrEnum


class Reason(StrEnum):
    """One code per rule."""

    ALLOWED = "allowed"

    # A policy file that cannot be used.
    UNLABELLED = "unlabelled"
    """A data set or a file without a label, or with two."""
    UNKNOWN_LABEL = "unknown_label"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_KEY = "unknown_key"
    MISSING_FIELD = "missing_field"
    BAD_VALUE = "bad_value"
    NOT_TOML = "not_toml"
    TOO_LONG = "too_long"
    UNREADABLE = "unreadable"

    # Data that may not be used here, or for this.
    PURPOSE_MISMATCH = "purpose_mismatch"
    """Its `uses` do not name what it is asked for."""
    LICENCE_NOT_ACCEPTED = "licence_not_accepted"
    """The charter names the licences of data that may be trained on, and not this one."""
    OUTSIDE_RESIDENCY = "outside_residency"
    """Sovereign or private data, and a peer of another jurisdiction."""
    NEEDS_OPEN_DATA = "needs_open_data"
    """A run of `gradient` mode or with quorum `available`, and data that is not open."""
    ISOLATION_TOO_LOW = "isolation_too_low"
    """The trainer is less isolated than the policy demands."""
    PRIVACY_MISSING = "privacy_missing"
    """The policy demands a protection (dp, secagg, enclave) that this run or this trainer does not give."""

    # Differential privacy, as the gate judges it.
    PRIVACY_RECEIPT_MISSING = "privacy_receipt_missing"
    PRIVACY_RECEIPT_WRONG = "privacy_receipt_wrong"
    """For another unit, delta, noise or clipping norm than policy and charter demand; or its numbers are none."""
    PRIVACY_BUDGET_EXCEEDED = "privacy_budget_exceeded"
    PRIVACY_BUDGET_SPENT = "privacy_budget_spent"
    """Within the budget, but without a step: this peer only receives from now on."""

    # What the gate says of an update or an aggregate.
    PRIVATE_DATA = "private_data"
    OUT_OF_RANGE = "out_of_range"
    NORM_BOUND = "norm_bound"
    SINGLE_UPDATE_WOULD_CROSS = "single_update_would_cross"
    LABEL_FORBIDS_CROSSING = "label_forbids_crossing"
    AGGREGATE_TOO_SMALL = "aggregate_too_small"
    NOT_MASKED = "not_masked"
    """Too few members are there for a secure sum to hide this peer's update in."""
    VERDICT_ONLY = "verdict_only"
    """Allowed: that a candidate base is accepted or rejected, and not by how much its loss has changed."""
    SERVICE_NOT_NAMED = "service_not_named"
    """Figures for a metrics service outside the run that the policy's `figures_to` does not name."""
    NOT_ADMITTED = "not_admitted"
