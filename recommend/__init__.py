"""Recommendations computed on the device."""
