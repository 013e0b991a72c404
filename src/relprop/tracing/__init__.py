"""Tracing: one forward run of a graph, and what rules see of each operator in it."""
