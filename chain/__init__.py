"""The EVM chain: the only package that will know web3."""
