"""The network: the only package that knows libp2p."""
