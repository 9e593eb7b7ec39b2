"""Synthetic documents for training nano: drawn as PDFs, with questions whose answers are known."""
