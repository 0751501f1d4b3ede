"""Untrusted audio: probed and decoded only in a sandboxed child process."""
