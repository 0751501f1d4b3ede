"""Composition root: settings, wiring, local API, health."""
