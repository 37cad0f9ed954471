"""Brings a commit into production with gcloud: images, templates, DAGs and settings."""
