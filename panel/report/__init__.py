"""Gathers what a bug report needs of one run, without secrets, into a zip file."""
