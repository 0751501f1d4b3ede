"""The embedded development chain: a real EVM with one operator and no consensus."""
