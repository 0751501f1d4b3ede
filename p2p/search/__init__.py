"""Search over the swarm: peers answer with the releases their own index finds."""
