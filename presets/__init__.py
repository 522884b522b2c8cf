"""What people run: data files and one loader."""
