"""What a translation kept: diagnostics of fidelity, which know no network and no translator."""
