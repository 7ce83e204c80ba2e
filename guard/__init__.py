"""The rollback guard: request events of two versions in, decisions out."""
