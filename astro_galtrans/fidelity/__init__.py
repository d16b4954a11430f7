"""What a translation kept: comparisons of translated with real images, level by level."""
