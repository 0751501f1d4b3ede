"""The chain as the node's owner uses it: wallet, licences, editions, votes; each confirmed, then signed."""
