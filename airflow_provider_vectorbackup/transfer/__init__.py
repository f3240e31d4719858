"""Moves and checks bytes."""
