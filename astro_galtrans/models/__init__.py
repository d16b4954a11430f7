"""The translation networks, one per file, behind one contract (`TranslationModel`)."""
