"""Structure in translated images that the source image contradicts."""
