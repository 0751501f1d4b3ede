"""From segments on many peers to sound in time."""
