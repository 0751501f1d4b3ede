"""Formats of the music itself: segments, keys, roots, manifests, keyboxes."""
