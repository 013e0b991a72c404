"""The engine: trace once, propagate many, account for everything."""
