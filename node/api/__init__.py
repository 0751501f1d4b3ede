"""The local HTTP interface: guard, tokens, router, envelope."""
