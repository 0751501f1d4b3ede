"""Everything on disk: keys, crypto, blocks, library."""
