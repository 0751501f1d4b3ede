"""Blocks to and from every node that speaks bitswap: Kubo, Helia, Marina."""
