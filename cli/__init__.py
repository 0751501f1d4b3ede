"""The marina command; talks to the daemon only through its API."""
