"""Yamux with its flow control enforced, over Noise read and written in batches."""
