"""Segments between peers: server and client of /marina/chunk/1.0.0."""
