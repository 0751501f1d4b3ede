"""What the node knows of tracks and releases, and the index that finds them."""
