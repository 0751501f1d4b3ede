"""A Kubo node reached over its RPC: the one place that knows aioipfs, and asyncio."""
