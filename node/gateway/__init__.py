"""The trustless gateway: this node's blocks over HTTP, for whoever checks their hashes; off by default."""
