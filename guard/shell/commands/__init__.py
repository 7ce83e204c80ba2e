"""What the commands of `guard` do, one file a command; `cli` only reads flags."""
