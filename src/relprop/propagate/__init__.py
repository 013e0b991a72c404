"""Propagate: relevance from a start back to a stop, rule by rule, with accounts."""
