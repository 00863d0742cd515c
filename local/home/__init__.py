"""The folder and the records of everything that the local service keeps."""
