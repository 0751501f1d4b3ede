"""Keys of paid music for a listener: asked of guardians, kept, used while the licence runs."""
