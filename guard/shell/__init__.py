"""Everything that touches the world, and nothing that decides."""
