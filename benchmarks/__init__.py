"""Benchmarks: coverage of torchvision's models, and speed and memory beside other implementations."""
