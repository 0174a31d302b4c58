"""The recorder: a person's keys, 30 times a second, become verified episodes in an HDF5 file."""
