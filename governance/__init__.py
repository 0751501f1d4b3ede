"""DAO proposals and votes."""
