"""Replication: operators pledge storage for a release, keep it and are audited."""
