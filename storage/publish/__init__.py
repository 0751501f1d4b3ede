"""From a folder of music to a signed release: resumable, idempotent, encrypted before anything leaves."""
