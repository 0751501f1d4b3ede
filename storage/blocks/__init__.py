"""Blocks on disk: the BlockStore protocol and its implementations."""
