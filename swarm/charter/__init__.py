"""The signed rules of a run: charter, signatures, passports, admission. Opens no connection."""
