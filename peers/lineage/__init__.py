"""Where a model comes from: signed statements, their verification down to the charter, and exports of them."""
