"""The contracts of Marina; the package carries their compiled artifacts only."""
