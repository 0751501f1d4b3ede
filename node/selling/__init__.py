"""Selling music: who keeps its keys, what the chain knows of them, and whether they are within reach."""
