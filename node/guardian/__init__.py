"""Keeping parts of keys for artists: what a guardian or delegate checks, releases and remembers."""
