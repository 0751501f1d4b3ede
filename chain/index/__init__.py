"""The index of a chain: what is kept, and what each event of our contracts means for it."""
