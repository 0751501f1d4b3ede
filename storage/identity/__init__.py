"""The owner: recovery words, account, device key, vault."""
