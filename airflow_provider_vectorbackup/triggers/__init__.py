"""Triggers: wait for backups and restores on the triggerer."""
