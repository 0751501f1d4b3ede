"""The Kubo node beside this one: it keeps the owner's releases, and tells its network of them."""
