"""Message shapes of Marina's own protocols: pure, no I/O."""
