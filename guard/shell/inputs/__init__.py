"""Wire formats: bytes in, unchecked events out; one file a format."""
